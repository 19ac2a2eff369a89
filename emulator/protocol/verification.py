"""Holds every answer against its description; switched on by ``--verify-answers``, for tests.

What an answer violates is kept, with the exchange that shows it, until somebody asks.
"""

import json
import re
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qsl

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from emulator.faults import host_of
from emulator.protocol.descriptions import AZURE, IDENTITY, STORAGE, find

#: Answers that differ from a description on purpose: operation, path of the field, and why.
EXCEPTIONS: dict[tuple[str, str], str] = {
    ("Blob_Download", "status"): "a condition that does not hold is 304 (REST, Get Blob)",
    ("Blob_GetProperties", "status"): "the same",
}
#: Paths that no description has, and why they are there.
UNDESCRIBED = {
    r"/\.well-known/openid|/oauth2/|/discovery/instance": "Entra ID speaks OpenID Connect",
    r"/score$|/swagger\.json$|^/$": "a scoring container's own; its model says what they answer",
    r"/runs/[^/]+/logs/": "a log is a blob on Azure, read at a signed address",
    r"/mlflow/logged-models/": "MLflow 3 asks it wherever it reads a run's artifacts",
    r"/workspaces/[^/]+/usages$": "usages are a region's on Azure; nobody's client asks here",
}
LOOPBACK = ("127.0.0.1", "localhost")
NOT_EMULATED = 501
MOST = 1000  # violations that are kept


@dataclass
class Verification:
    """What was seen: exchanges by operation, and what was wrong with them, oldest first."""

    checked: dict[str, int] = field(default_factory=dict)
    violations: list[str] = field(default_factory=list)

    def see(self, scope: Scope, host: str, status: int, headers: dict[str, str], body: Any) -> None:
        """Hold one answer against its description."""
        path, method = scope["path"], scope["method"]
        query = dict(parse_qsl(scope["query_string"].decode("latin-1"), keep_blank_values=True))
        exchange = f"{status} {method} {host}{path}?api-version={query.get('api-version')}"
        if host in LOOPBACK and path != "/msi/token":
            return  # what Azure does not have
        operation = find(method, path, query, service=service_of(host, path))
        if operation is None:
            if status < 400 and not any(re.search(known, path) for known in UNDESCRIBED):
                self._keep(f"nobody describes it: {exchange}")
            return
        self.checked[operation.name] = self.checked.get(operation.name, 0) + 1
        for wrong in operation.check_response(status, headers, body):
            if (operation.name, wrong.path) not in EXCEPTIONS:
                self._keep(f"{operation.name}: {wrong} [{exchange}]")

    def _keep(self, text: str) -> None:
        if len(self.violations) < MOST:
            self.violations.append(text)


def service_of(host: str, path: str) -> str:
    """Which of the described services a host is."""
    if ".blob." in host:
        return STORAGE
    return IDENTITY if path == "/msi/token" else AZURE


class Verified:
    """ASGI middleware: lets the verification see every answer as it goes by."""

    def __init__(self, app: ASGIApp, verification: Verification) -> None:
        self.app = app
        self.verification = verification

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        seen = _Answer()

        async def passed_on(message: Message) -> None:
            seen.take(message)
            await send(message)

        await self.app(scope, receive, passed_on)
        if seen.status != NOT_EMULATED:
            host = host_of(scope)
            self.verification.see(scope, host, seen.status, seen.headers, seen.body(host))


@dataclass
class _Answer:
    status: int = 0
    headers: dict[str, str] = field(default_factory=dict)
    content: bytes = b""

    def take(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            pairs = message.get("headers", [])
            self.headers = {k.decode("latin-1"): v.decode("latin-1") for k, v in pairs}
        elif self._is_json:
            self.content += message.get("body", b"")

    @property
    def _is_json(self) -> bool:
        return "json" in self.headers.get("content-type", "")

    def body(self, host: str) -> Any:
        """The JSON of the answer; None where it has none, or is storage's XML."""
        if ".blob." in host or not self.content:
            return None
        return json.loads(self.content)
