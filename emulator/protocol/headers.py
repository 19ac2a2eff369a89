"""The headers that every answer of ARM and of the data plane carries."""

import uuid

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from emulator.configuration import REGION

CORRELATION = "x-ms-correlation-request-id"
FIXED = {
    "cache-control": "no-cache",
    "pragma": "no-cache",
    "expires": "-1",
    "strict-transport-security": "max-age=31536000; includeSubDomains",
    "x-content-type-options": "nosniff",
}


class WithHeaders:
    """ASGI middleware: adds request and correlation ids, and what forbids caching.

    The correlation id is the client's own where it sends one, as ARM does it.
    """

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        request_id = str(uuid.uuid4())
        asked = dict(scope.get("headers") or [])
        correlation = asked.get(CORRELATION.encode(), request_id.encode()).decode("latin-1")
        added = {
            **FIXED,
            "x-ms-request-id": request_id,
            CORRELATION: correlation,
            "x-ms-routing-request-id": f"{REGION.upper()}:{request_id}",
        }

        async def passed_on(message: Message) -> None:
            if message["type"] == "http.response.start":
                there = {name for name, _ in message.get("headers", [])}
                new = [(k.encode(), v.encode("latin-1")) for k, v in added.items()]
                kept = [pair for pair in new if pair[0] not in there]
                message = {**message, "headers": [*message.get("headers", []), *kept]}
            await send(message)

        await self.app(scope, receive, passed_on)
