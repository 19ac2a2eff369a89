"""The App Service managed identity endpoint, as DefaultAzureCredential asks it; plain http."""

import hmac

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from emulator.protocol import tokens
from emulator.protocol.resources import emulator_of


async def get_token(request: Request) -> Response:
    emulator = emulator_of(request)
    given = request.headers.get("X-IDENTITY-HEADER", "")
    if not hmac.compare_digest(given, emulator.config.identity.identity_header):
        body = {"statusCode": 401, "message": "The X-IDENTITY-HEADER is missing or wrong."}
        return JSONResponse(body, status_code=401)
    resource = request.query_params.get("resource")
    if not resource:
        body = {"statusCode": 400, "message": "The query parameter 'resource' is missing."}
        return JSONResponse(body, status_code=400)
    now = emulator.clock.now()
    lifetime = emulator.config.token_lifetime_s
    return JSONResponse(
        {
            "access_token": tokens.issue(emulator.config, resource, now, lifetime),
            "client_id": emulator.config.identity.principal,
            "expires_on": str(int(now + lifetime)),
            "resource": resource,
            "token_type": "Bearer",
        }
    )


ROUTES = [Route("/msi/token", get_token, methods=["GET"])]
