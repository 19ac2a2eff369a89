"""The long-running operation protocol: accepted at once, done later, asked about in between.

Each operation is a document in the store and names its verb, so that one that was under way when
the emulator died is taken up again at the next start.
"""

import asyncio
import logging
import uuid
from collections.abc import Awaitable, Callable
from typing import Any

from emulator.clock import Clock
from emulator.protocol.errors import ArmError
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

    def __init__(self, store: Store, clock: Clock) -> None:
        self.store = store
        self.clock = clock
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

    def status(self, id_: str) -> dict[str, Any]:
        """The body that a poll gets. Raises ArmError 404."""
        found = self.store.get(KIND, id_)
        if found is None:
            raise ArmError(404, "OperationNotFound", f"Operation '{id_}' was not found.")
        body: dict[str, Any] = {"id": id_, "name": id_, "status": found["status"]}
        if found["error"]:
            body["error"] = found["error"]
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
