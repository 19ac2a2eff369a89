"""Faults on purpose, and the journal of requests.

Request faults hit requests by method, path, count; service faults are taken by whoever would have
to fail (a compute that cannot be made, a step that fails). All are set through the admin routes.
"""

import asyncio
import itertools
import math
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from emulator.clock import Clock

REQUEST_KINDS = (
    "status",
    "reset_before",
    "reset_after",
    "timeout",
    "hold_before",
    "hold_after",
)
SERVICE_KINDS = (
    "no_dedicated_quota",
    "compute_fails",
    "deployment_fails",
    "preempted",
    "node_lost",
    "out_of_memory",
    "service_fails",
    "not_responding",
    "step_fails",
    "scorer_crashes",
    "sign_in_refused",
)
JOURNAL_LENGTH = 100_000
CUT = 599  # never seen on a wire: stands for a connection that was closed without an answer


class BadFault(ValueError):
    """A fault that cannot be set; the text says why."""


@dataclass
class Fault:
    """One fault. ``skip`` matching requests pass first, then ``times`` are hit (0: all).

    ``after``: a training has logged this step first. ``rows``: so many of a batch fit in memory.
    """

    id: int
    kind: str
    method: str = ""
    path: str = ""
    host: str = ""
    skip: int = 0
    times: int = 1
    status: int = 500
    code: str = "InternalServerError"
    message: str = "A fault was injected."
    retry_after: float | None = None
    seconds: float = 30.0
    step: str = ""
    after: int = 0
    rows: int = 0
    seen: int = 0
    hits: int = 0
    drop: bool = False
    hit: asyncio.Event = field(default_factory=asyncio.Event)
    released: asyncio.Event = field(default_factory=asyncio.Event)

    def matches(self, method: str, host: str, path: str) -> bool:
        """Whether this request is hit now; counts it if it is of the kind that is waited for."""
        if self.kind not in REQUEST_KINDS or (self.times and self.hits >= self.times):
            return False
        if self.method not in ("", method) or not re.search(self.host, host):
            return False
        if not re.search(self.path, path):
            return False
        self.seen += 1
        if self.seen <= self.skip:
            return False
        self.hits += 1
        return True

    def shown(self) -> dict[str, Any]:
        hidden = ("hit", "released")
        values = {name: value for name, value in vars(self).items() if name not in hidden}
        return {**values, "hit": self.hit.is_set(), "released": self.released.is_set()}


class Faults:
    """The faults that are set now."""

    def __init__(self) -> None:
        self._faults: dict[int, Fault] = {}
        self._ids = itertools.count(1)

    def add(self, values: dict[str, Any]) -> Fault:
        """Set a fault. Raises BadFault: an unknown kind or field, or a pattern that is none."""
        if values.get("kind") not in REQUEST_KINDS + SERVICE_KINDS:
            known = ", ".join(REQUEST_KINDS + SERVICE_KINDS)
            raise BadFault(f"kind '{values.get('kind')}' is not one of {known}")
        try:
            fault = Fault(id=next(self._ids), **values)
            re.compile(fault.path)
            re.compile(fault.host)
        except (TypeError, re.error) as error:
            raise BadFault(str(error)) from error
        self._faults[fault.id] = fault
        return fault

    def get(self, id_: int) -> Fault | None:
        return self._faults.get(id_)

    def all(self) -> list[Fault]:
        return list(self._faults.values())

    def clear(self) -> None:
        """Remove all faults; what they hold goes on."""
        for fault in self._faults.values():
            fault.released.set()
        self._faults.clear()

    def take(
        self, kind: str, step: str = "", *, done: float = math.inf, rows: float = math.inf
    ) -> dict[str, Any] | None:
        """Use up one service fault of this kind (for this step), if there is one.

        ``done``: how far its training is; ``rows``: how many it has in a batch.
        """
        for fault in self._faults.values():
            fits = fault.kind == kind and fault.step in ("", step)
            fits = fits and fault.after <= done and fault.rows < rows
            if fits and (fault.times == 0 or fault.hits < fault.times):
                fault.hits += 1
                fault.hit.set()
                return {
                    "kind": kind,
                    "step": step,
                    "message": fault.message,
                    "seconds": fault.seconds,
                    "code": fault.code,
                }
        return None

    def match(self, method: str, host: str, path: str) -> Fault | None:
        return next((f for f in self._faults.values() if f.matches(method, host, path)), None)


@dataclass
class Journal:
    """The requests that came in, oldest first."""

    clock: Clock
    entries: list[dict[str, Any]] = field(default_factory=list)
    _index: int = 0

    def begin(self, method: str, host: str, path: str, query: str) -> dict[str, Any]:
        self._index += 1
        entry = {
            "index": self._index,
            "time": self.clock.now(),
            "method": method,
            "host": host,
            "path": path,
            "query": query,
            "status": 0,
        }
        self.entries.append(entry)
        del self.entries[:-JOURNAL_LENGTH]
        return entry

    def after(self, index: int) -> list[dict[str, Any]]:
        return [entry for entry in self.entries if entry["index"] > index]


class FaultyService:
    """ASGI middleware: writes the journal, and does to requests what the faults say.

    Paths that begin with ``exempt`` are left alone. ``abort`` closes the client's connection
    without an answer, given its port.
    """

    def __init__(
        self,
        app: ASGIApp,
        journal: Journal,
        faults: Faults,
        clock: Clock,
        latency: float,
        abort: Callable[[int], None],
        exempt: str | None = None,
    ) -> None:
        self.app = app
        self.journal = journal
        self.faults = faults
        self.clock = clock
        self.latency = latency
        self.abort = abort
        self.exempt = exempt

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or (self.exempt and scope["path"].startswith(self.exempt)):
            await self.app(scope, receive, send)
            return
        method, path, host = scope["method"], scope["path"], host_of(scope)
        entry = self.journal.begin(method, host, path, scope["query_string"].decode())

        async def noted(message: Message) -> None:
            if message["type"] == "http.response.start" and message["status"] != CUT:
                entry["status"] = message["status"]
            await send(message)

        entry["actor"] = _agent(scope)
        if self.latency:
            await self.clock.sleep(self.latency)
        fault = self.faults.match(method, host, path)
        if fault is None:
            await self.app(scope, receive, noted)
        else:
            entry["fault"] = fault.kind
            await self._faulty(fault, scope, receive, noted)

    async def _faulty(self, fault: Fault, scope: Scope, receive: Receive, send: Send) -> None:
        if fault.kind == "status":
            fault.hit.set()
            await _refusal(fault, str(scope["path"]))(scope, receive, send)
        elif fault.kind == "hold_before":
            fault.hit.set()
            await fault.released.wait()
            if fault.drop:
                await self._reset(scope, send)
            else:
                await self.app(scope, receive, send)
        elif fault.kind == "hold_after":
            await self._held(fault, scope, receive, send)
        elif fault.kind == "reset_after":
            await self.app(scope, receive, _nowhere)
            fault.hit.set()
            await self._reset(scope, send)
        else:
            fault.hit.set()
            if fault.kind == "timeout":
                await self.clock.sleep(fault.seconds)
            await self._reset(scope, send)

    async def _held(self, fault: Fault, scope: Scope, receive: Receive, send: Send) -> None:
        messages: list[Message] = []

        async def keep(message: Message) -> None:
            messages.append(message)

        await self.app(scope, receive, keep)
        fault.hit.set()
        await fault.released.wait()
        if fault.drop:
            await self._reset(scope, send)
            return
        for message in messages:
            await send(message)

    async def _reset(self, scope: Scope, send: Send) -> None:
        """Cut the connection. The server wants an answer all the same; it reaches nobody."""
        client = scope.get("client")
        if client:
            self.abort(client[1])
        await send({"type": "http.response.start", "status": CUT, "headers": []})
        await send({"type": "http.response.body", "body": b""})


def host_of(scope: Scope) -> str:
    """The host that the request names, without its port, in lower case."""
    for name, value in scope["headers"]:
        if name == b"host":
            return str(value.decode("latin-1")).rsplit(":", 1)[0].lower()
    return ""


def _agent(scope: Scope) -> str:
    """Which program asks, as it names itself."""
    return next((v.decode("latin-1") for k, v in scope["headers"] if k == b"user-agent"), "")


async def _nowhere(message: Message) -> None:
    """The service acted; its answer is lost."""


def _refusal(fault: Fault, path: str) -> JSONResponse:
    """The error in the form of who is asked: of the identity endpoint, or of everybody else."""
    headers = {}
    if fault.retry_after is not None:
        headers["Retry-After"] = f"{fault.retry_after:g}"
    body: dict[str, object] = {"error": {"code": fault.code, "message": fault.message}}
    if path == "/msi/token":
        body = {"statusCode": fault.status, "message": fault.message}
    return JSONResponse(body, status_code=fault.status, headers=headers)
