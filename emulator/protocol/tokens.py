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
    if not header:
        text = "Authentication failed. The 'Authorization' header is missing."
        raise _refused(config, "AuthenticationFailed", text)
    if scheme.lower() != "bearer" or not token:
        text = "Authentication failed. The 'Authorization' header is provided in an invalid format."
        raise _refused(config, "AuthenticationFailedInvalidHeader", text)
    claims = _decoded(config, token)
    if float(claims["exp"]) <= now:
        text = "The access token expiry UTC time is earlier than current UTC time."
        raise _refused(config, "ExpiredAuthenticationToken", text)
    if claims["tid"] != config.tenant_id:
        text = f"The access token is from the wrong issuer: its tenant is '{claims['tid']}'."
        raise _refused(config, "InvalidAuthenticationTokenTenant", text)
    if not accepts(str(claims["aud"])):
        text = (
            f"The access token has been obtained for wrong audience or resource '{claims['aud']}'."
        )
        raise _refused(config, "InvalidAuthenticationTokenAudience", text)
    return claims


def for_management(config: Configuration) -> Audience:
    """Tokens for Azure Resource Manager, named with or without a slash at the end."""
    return lambda audience: audience.rstrip("/") == f"https://{config.management_host}"


def for_workspace(config: Configuration) -> Audience:
    """Tokens for the region's data plane: Azure ML's own, or Resource Manager's."""
    known = (f"https://{config.management_host}", config.audience)
    return lambda audience: audience.rstrip("/") in known


def check_storage(config: Configuration, header: str, now: float) -> None:
    """Raises ArmError 401 in storage's words: a token that is none, or is for something else."""
    known = (STORAGE, f"https://{config.blob_host}")
    try:
        check(config, header, now, lambda audience: audience.rstrip("/") in known)
    except ArmError as error:
        text = f"Server failed to authenticate the request. {error.message}"
        raise ArmError(401, "InvalidAuthenticationInfo", text, _challenge(config)) from error


def storage_challenge(config: Configuration) -> ArmError:
    """Storage's answer to who says nothing of himself: where a token is had, and for what."""
    text = (
        "Server failed to authenticate the request. Please refer to the information in the "
        "www-authenticate header."
    )
    return ArmError(401, "NoAuthenticationInformation", text, _challenge(config))


def _challenge(config: Configuration) -> dict[str, str]:
    place = f"https://{config.login_host}/{config.tenant_id}/oauth2/authorize"
    return {"WWW-Authenticate": f"Bearer authorization_uri={place} resource_id={STORAGE}"}


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
                "require": ["exp", "aud", "tid"],
            },
        )
    except jwt.InvalidTokenError as error:
        text = f"The access token is invalid: {error}."
        raise _refused(config, "InvalidAuthenticationToken", text) from error
    return claims


def _refused(config: Configuration, code: str, message: str) -> ArmError:
    place = f"https://{config.login_host}/{config.tenant_id}"
    challenge = (
        f'Bearer authorization_uri="{place}", error="invalid_token", error_description="{message}"'
    )
    return ArmError(401, code, message, {"WWW-Authenticate": challenge})
