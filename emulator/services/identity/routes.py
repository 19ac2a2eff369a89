"""The App Service managed identity endpoint, as DefaultAzureCredential asks it; plain http."""

import hmac
from dataclasses import dataclass

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from emulator.clock import Clock
from emulator.configuration import Configuration
from emulator.protocol import tokens
from emulator.protocol.routing import Routes


@dataclass(frozen=True)
class IdentityService:
    """What the identity endpoint asks."""

    config: Configuration
    clock: Clock


async def get_token(service: IdentityService, request: Request) -> Response:
    given = request.headers.get("X-IDENTITY-HEADER", "")
    if not hmac.compare_digest(given, service.config.identity.identity_header):
        body = {"statusCode": 401, "message": "The X-IDENTITY-HEADER is missing or wrong."}
        return JSONResponse(body, status_code=401)
    resource = request.query_params.get("resource")
    if not resource:
        body = {"statusCode": 400, "message": "The query parameter 'resource' is missing."}
        return JSONResponse(body, status_code=400)
    now = service.clock.now()
    lifetime = service.config.token_lifetime_s
    return JSONResponse(
        {
            "access_token": tokens.issue(service.config, resource, now, lifetime),
            "client_id": service.config.identity.principal,
            "expires_on": str(int(now + lifetime)),
            "resource": resource,
            "token_type": "Bearer",
        }
    )


ROUTES: Routes[IdentityService] = [("GET", "/msi/token", get_token)]
