"""Bearer tokens: made by the managed identity endpoint, checked by every Azure route."""

from typing import Any

import jwt

from emulator.configuration import Configuration
from emulator.errors import ArmError

LIFETIME_S = 24 * 3600


def issue(config: Configuration, audience: str, now: float, lifetime: float = LIFETIME_S) -> str:
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


def check(config: Configuration, header: str | None, now: float, challenge: str) -> dict[str, Any]:
    """Return the claims of an ``Authorization`` header.

    Raises ArmError 401, with the ``WWW-Authenticate`` challenge that Azure sends: no token, one that
    another emulator (or anybody else) signed, one for another cloud, or one that has expired.
    """
    scheme, _, token = (header or "").partition(" ")
    if scheme.lower() != "bearer" or not token:
        raise _refused("AuthenticationFailed", "Authentication failed. The 'Authorization' header "
                       "is missing.", challenge)  # fmt: skip
    try:
        claims: dict[str, Any] = jwt.decode(
            token,
            config.identity.token_key,
            algorithms=["HS256"],
            options={"verify_aud": False, "verify_exp": False, "verify_nbf": False},
        )
    except jwt.InvalidTokenError as error:
        raise _refused("InvalidAuthenticationToken", f"The access token is invalid: {error}.",
                       challenge) from error  # fmt: skip
    if float(claims["exp"]) <= now:
        raise _refused("ExpiredAuthenticationToken", "The access token expiry UTC time is earlier "
                       "than current UTC time.", challenge)  # fmt: skip
    if not _known(config, str(claims["aud"])):
        raise _refused("InvalidAuthenticationTokenAudience", "The access token has been obtained "
                       f"for wrong audience or resource '{claims['aud']}'.", challenge)  # fmt: skip
    return claims


def _known(config: Configuration, audience: str) -> bool:
    storage = "https://storage.azure.com"
    return audience == storage or audience.removeprefix("https://").endswith(config.suffix)


def _refused(code: str, message: str, challenge: str) -> ArmError:
    return ArmError(401, code, message, {"WWW-Authenticate": challenge})
