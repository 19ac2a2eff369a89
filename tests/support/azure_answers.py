"""Azure's answers as the SDK raises them, without a service that gives them."""

from __future__ import annotations

import json
from typing import Any

from azure.core.exceptions import (
    ClientAuthenticationError,
    HttpResponseError,
    ResourceExistsError,
    ResourceNotFoundError,
)
from azure.core.pipeline.transport import HttpResponse

KINDS = {401: ClientAuthenticationError, 404: ResourceNotFoundError, 409: ResourceExistsError}


class _Response(HttpResponse):
    """A response of which the SDK's exceptions read status, reason and body."""

    def __init__(self, status: int, body: dict[str, Any]) -> None:
        super().__init__(None, None)
        self.status_code, self.reason = status, "of a test"
        self.content_type, self.headers = "application/json", {}
        self._body = json.dumps(body).encode()

    def body(self) -> bytes:
        return self._body


def answered(
    status: int | None, code: str = "Code", message: str = "a message"
) -> HttpResponseError:
    """Return what the SDK raises for an error of Azure's; None: an operation that ended badly."""
    if status is None:
        return HttpResponseError(message)
    response = _Response(status, {"error": {"code": code, "message": message}})
    return KINDS.get(status, HttpResponseError)(response=response)
