"""What opens an endpoint: its keys, its own tokens, or the caller's tokens of Entra ID.

MicrosoftDocs/azure-ai-docs: how-to-authenticate-online-endpoint.md. How long an endpoint's own
token is valid is not written there: here as long as every token of this emulator, and to be had
anew after half of it.
"""

import hmac
from typing import Any

from emulator.clock import Clock
from emulator.configuration import Configuration
from emulator.protocol import tokens
from emulator.protocol.errors import ArmError
from emulator.protocol.guard import check_right
from emulator.services.serving.endpoints import Serving

KEY, AML_TOKEN, AAD_TOKEN = "key", "amltoken", "aadtoken"
#: What azure-ai-ml asks a token for, in whatever cloud (constants/_common.py).
RESOURCE = "https://ml.azure.com"
NOT_GIVEN = "Please provide the access token or key in the Authorization header."


def mode(endpoint: dict[str, Any]) -> str:
    """How an endpoint's callers are told, in lower case."""
    return str(endpoint["properties"]["authMode"]).lower()


def check_mode(endpoint: dict[str, Any], *modes: str) -> None:
    """Raises ArmError 400: the endpoint has not what is asked of it."""
    if mode(endpoint) not in modes:
        text = (
            f"Endpoint '{endpoint['name']}' authenticates by {endpoint['properties']['authMode']}; "
            "it has no other credentials."
        )
        raise ArmError(400, "BadArgument", text)


def endpoint_token(config: Configuration, clock: Clock, endpoint: dict[str, Any]) -> dict[str, Any]:
    """A token that opens this endpoint; times in unix seconds."""
    now, lifetime = clock.now(), config.token_lifetime_s
    return {
        "accessToken": tokens.issue(config, str(endpoint["id"]), now, lifetime),
        "expiryTimeUtc": int(now + lifetime),
        "refreshAfterTimeUtc": int(now + lifetime / 2),
        "tokenType": "Bearer",
    }


def check(
    serving: Serving, config: Configuration, now: float, endpoint: dict[str, Any], header: str
) -> None:
    """Raises ArmError 401: what the header has does not open the endpoint; 403: no right."""
    scheme, _, given = header.partition(" ")
    if scheme.lower() != "bearer" or not given:
        raise ArmError(401, "Unauthorized", NOT_GIVEN)
    how, own = mode(endpoint), str(endpoint["id"]).lower()
    if how == KEY:
        keys = serving.keys(endpoint["name"]).values()
        if not any(hmac.compare_digest(given.encode(), key.encode()) for key in keys):
            raise ArmError(401, "Unauthorized", NOT_GIVEN)
    elif how == AML_TOKEN:
        tokens.check(config, header, now, lambda audience: audience.lower() == own)
    else:
        known = (RESOURCE, config.audience)
        tokens.check(config, header, now, lambda audience: audience.rstrip("/") in known)
        check_right(config, "POST", f"{endpoint['id']}/score", config.denied_actions)
