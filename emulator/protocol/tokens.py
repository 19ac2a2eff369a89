"""Bearer tokens: made by the managed identity endpoint, checked by every Azure route."""

from collections.abc import Callable
from typing import Any

import jwt

from emulator.configuration import TOKEN_LIFETIME_S, Configuration
from emulator.protocol.errors import ArmError

STORAGE = "https://storage.azure.com"

Audience = Callable[[str], bool]


def issue(
    config: Configuration, audience: str, now: float, lifetime: float = TOKEN_LIFETIME_S
) -> str:
    """A JSON web token for ``audience`` (a resource's address), valid for ``lifetime`` seconds."""
    issuer = f"https://sts.{config.suffix}/{config.tenant_id}/"
    claims = {
        "aud": audience.rstrip("/"),
        "iss": issuer,
        "tid": config.tenant_id,
        "oid": config.identity.principal,
        "sub": config.identity.principal,
        "appid": config.identity.principal,
        "idtyp": "app",
        "iat": int(now),
        "nbf": int(now) - 60,
        "exp": int(now + lifetime),
    }
    return jwt.encode(claims, config.identity.token_key, algorithm="HS256")


def check(
    config: Configuration, header: str | None, now: float, accepts: Audience
) -> dict[str, Any]:
    """Return the claims of an ``Authorization`` header whose audience ``accepts`` likes.

    Raises ArmError 401, with the ``WWW-Authenticate`` challenge that Azure sends: no token, one
    that another emulator (or anybody else) signed, one for something else, an expired one.
    """
    scheme, _, token = (header or "").partition(" ")
    if scheme.lower() != "bearer" or not token:
        text = "Authentication failed. The 'Authorization' header is missing."
        raise _refused(config, "AuthenticationFailed", text)
    claims = _decoded(config, token)
    if float(claims["exp"]) <= now:
        text = "The access token expiry UTC time is earlier than current UTC time."
        raise _refused(config, "ExpiredAuthenticationToken", text)
    if not accepts(str(claims["aud"])):
        text = (
            f"The access token has been obtained for wrong audience or resource '{claims['aud']}'."
        )
        raise _refused(config, "InvalidAuthenticationTokenAudience", text)
    return claims


def for_azure(config: Configuration) -> Audience:
    """Tokens for this cloud's management and data planes."""
    return lambda audience: audience.removeprefix("https://").endswith("." + config.suffix)


def for_storage(audience: str) -> bool:
    """Tokens for storage, whose resource has one name in all clouds."""
    return audience == STORAGE


def _decoded(config: Configuration, token: str) -> dict[str, Any]:
    try:
        claims: dict[str, Any] = jwt.decode(
            token,
            config.identity.token_key,
            algorithms=["HS256"],
            options={
                "verify_aud": False,
                "verify_exp": False,  # by the emulator's clock, not the machine's
                "verify_nbf": False,
                "verify_iat": False,
                "require": ["exp", "aud"],
            },
        )
    except jwt.InvalidTokenError as error:
        text = f"The access token is invalid: {error}."
        raise _refused(config, "InvalidAuthenticationToken", text) from error
    return claims


def _refused(config: Configuration, code: str, message: str) -> ArmError:
    challenge = f'Bearer authorization_uri="https://login.{config.suffix}/{config.tenant_id}"'
    return ArmError(401, code, message, {"WWW-Authenticate": challenge})
