"""The long-running operation protocol: accepted at once, done later, asked about in between.

Each operation is a document in the store and names its verb, so that one that was under way when
the emulator died is taken up again at the next start.
"""

import asyncio
import logging
import uuid
from collections.abc import Awaitable, Callable
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from emulator.configuration import REGION, Configuration
from emulator.latency import Profile
from emulator.protocol.errors import ArmError
from emulator.protocol.resources import LOCATION
from emulator.protocol.routing import Routes
from emulator.store import Store

log = logging.getLogger(__name__)

KIND = "operation"
Verb = Callable[[str], Awaitable[None]]


class OperationFailed(Exception):
    """What a verb raises when the service could not do it; the client is told code and message."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(code, message)
        self.code = code
        self.message = message


class Operations:
    """All operations of one emulator; ``verbs`` are coroutine functions of a resource's key."""

    def __init__(self, store: Store, config: Configuration, profile: Profile) -> None:
        self.store = store
        self._place = (
            f"https://{config.management_host}/subscriptions/{config.identity.subscription}"
            f"/providers/Microsoft.MachineLearningServices/locations/{REGION}"
        )
        self._poll_ms = profile.poll_ms
        self.verbs: dict[str, Verb] = {}
        self._running: dict[str, asyncio.Task[None]] = {}

    def begin(self, verb: str, key: str) -> str:
        """Start the verb on the resource in the background; return the operation's id.

        A deletion that is under way is not begun again: a second one, ending later, would take
        whatever has been made under the same name in between.
        """
        if verb.endswith(".delete") and (ongoing := self._find(verb, key)):
            return ongoing
        id_ = str(uuid.uuid4())
        body = {"id": id_, "verb": verb, "key": key, "status": "Updating", "error": None}
        self.store.put(KIND, id_, body)
        self._start(id_, body)
        return id_

    def accept(
        self, request: Request, verb: str, key: str, body: dict[str, Any] | None, status: int
    ) -> Response:
        """Begin the verb, and answer where to ask after it."""
        operation = self.begin(verb, key)
        version = request.query_params.get("api-version", "2023-10-01")
        headers = {
            "Azure-AsyncOperation": (
                f"{self._place}/mfeOperationsStatus/{operation}?api-version={version}"
            ),
            "Location": f"{self._place}/mfeOperationResults/{operation}?api-version={version}",
            **self.pause(),
        }
        if body is None:
            return Response(status_code=status, headers=headers)
        return JSONResponse(body, status_code=status, headers=headers)

    def pause(self) -> dict[str, str]:
        """The header that tells the client when to look again; without it the SDK waits 30 s."""
        return {"x-ms-retry-after-ms": str(self._poll_ms)}

    def status(self, id_: str) -> dict[str, Any]:
        """The body that a poll gets. Raises ArmError 404."""
        operation = self.store.get(KIND, id_)
        if operation is None:
            raise ArmError(404, "OperationNotFound", f"Operation '{id_}' was not found.")
        body: dict[str, Any] = {"id": id_, "name": id_, "status": operation["status"]}
        if operation["error"]:
            body["error"] = operation["error"]
        return body

    def busy(self, key: str) -> str | None:
        """The verb that is being done to the resource now, if any."""
        bodies = (self.store.get(KIND, id_) for id_ in self._running)
        return next((str(body["verb"]) for body in bodies if body and body["key"] == key), None)

    def _find(self, verb: str, key: str) -> str | None:
        for id_ in self._running:
            body = self.store.get(KIND, id_)
            if body is not None and (body["verb"], body["key"]) == (verb, key):
                return id_
        return None

    async def stop(self, key: str) -> None:
        """Give up what is being done to the resource (it is being deleted)."""
        for id_, task in list(self._running.items()):
            body = self.store.get(KIND, id_)
            if body is not None and body["key"] == key:
                task.cancel()
                await asyncio.gather(task, return_exceptions=True)
                self._end(id_, "Canceled", {"code": "Canceled", "message": "It was deleted."})

    def recover(self) -> None:
        """After a restart: take up again what was under way."""
        for body in self.store.list(KIND):
            if body["status"] == "Updating":
                self._start(body["id"], body)

    async def close(self) -> None:
        """Stop where things are; ``recover`` goes on at the next start."""
        tasks = list(self._running.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _start(self, id_: str, body: dict[str, Any]) -> None:
        task = asyncio.create_task(self._do(id_, body["verb"], body["key"]), name=body["verb"])
        self._running[id_] = task
        task.add_done_callback(lambda _: self._running.pop(id_, None))

    async def _do(self, id_: str, verb: str, key: str) -> None:
        try:
            await self.verbs[verb](key)
        except OperationFailed as failure:
            self._end(id_, "Failed", {"code": failure.code, "message": failure.message})
        except (
            Exception
        ):  # an operation must not stay under way for good because of a fault of ours
            log.exception("operation %s of %s", verb, key)
            text = "The service failed; see the emulator's log."
            self._end(id_, "Failed", {"code": "InternalServerError", "message": text})
        else:
            self._end(id_, "Succeeded", None)

    def _end(self, id_: str, status: str, error: dict[str, str] | None) -> None:
        body = self.store.get(KIND, id_)
        if body is not None:
            self.store.put(KIND, id_, {**body, "status": status, "error": error})


async def get_operation(operations: Operations, request: Request) -> Response:
    body = operations.status(request.path_params["operation"])
    return JSONResponse(body, headers=operations.pause())


async def get_operation_result(operations: Operations, request: Request) -> Response:
    running = operations.status(request.path_params["operation"])["status"] == "Updating"
    headers = operations.pause()
    if running:
        headers["Location"] = str(request.url)
    return Response(status_code=202 if running else 204, headers=headers)


ROUTES: Routes[Operations] = [
    ("GET", LOCATION + "/mfeOperationsStatus/{operation}", get_operation),
    ("GET", LOCATION + "/mfeOperationResults/{operation}", get_operation_result),
]
