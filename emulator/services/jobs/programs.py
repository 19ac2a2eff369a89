"""Programs of runs: on a node that is held, followed until they end or their node is taken."""

import asyncio
import math
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from emulator.faults import Faults
from emulator.processes.children import Running
from emulator.services.compute.nodes import Nodes
from emulator.services.jobs import records
from emulator.services.jobs.records import Record
from emulator.services.jobs.runs import Runs, StepFailed

LOOK_EVERY_S = 0.5  # at a running step's metrics file


class TimedOut(Exception):
    """A program ran longer than its job allows."""


@dataclass
class Programs:
    """What every program of a run needs: a node, and somebody who looks at it."""

    runs: Runs
    nodes: Nodes
    faults: Faults

    async def on_node(
        self, job: Record, child: Record, work: Callable[[], Awaitable[int | None]]
    ) -> int:
        """Do the work on a node of the run's compute, again where the node is taken away."""
        while True:
            async with self.nodes.hold(child["compute"]):
                self.runs.begin(child["name"])
                self.runs.say(job, f"Step {child['step']} runs.")
                code = await work()
            if code is not None:
                return code
            await self.nodes.lost(child["compute"])
            self.runs.set(child["name"], status="Queued")
            self.runs.say(job, f"Step {child['step']}: its node was pre-empted; queued again.")

    async def watch(self, running: Running, child: Record, limit: float | None = None) -> bool:
        """Follow the program's metrics until it ends; whether its node was taken before that.

        ``limit`` is in real seconds, as work is. Raises TimedOut.
        """
        ended = asyncio.ensure_future(running.wait())
        begun, seen = time.monotonic(), 0
        try:
            while not ended.done():
                left = math.inf if limit is None else begun + limit - time.monotonic()
                if left <= 0:
                    raise TimedOut
                await asyncio.wait([ended], timeout=min(LOOK_EVERY_S, left))
                seen = self._tell_metrics(child, seen)
                if running.running:
                    self._lose_node(child)
                    if self._preempted(child):
                        return True
                await self._lose_contact(running, child)
        finally:
            ended.cancel()
        return False

    async def _lose_contact(self, running: Running, child: Record) -> None:
        """Hold the program for a while, as a node that is not heard from; then it goes on.

        A job "can go from NotResponding to any of the previous states": azure-ai-ml,
        azure/ai/ml/_restclient/arm_ml_service/models/_enums.py, JobStatus.
        """
        fault = (
            self.faults.take("not_responding", child["step"] or child["name"])
            if running.running
            else None
        )
        if fault is None:
            return
        silent = dict.fromkeys((child["name"], child["root"]))
        running.hold()
        try:
            for name in silent:
                self.runs.set(name, status="NotResponding")
            await asyncio.sleep(float(fault["seconds"]))  # the fault is in real seconds
        finally:
            running.release()
            for name in silent:
                if self.runs.record(name)["status"] == "NotResponding":
                    self.runs.set(name, status="Running")

    def _tell_metrics(self, child: Record, seen: int) -> int:
        path = records.metrics_file(self.runs.folder, child)
        size = path.stat().st_size if path.exists() else 0
        if size != seen:
            self.runs.tracking.touch(child["name"])
        return size

    def _preempted(self, child: Record) -> bool:
        name = child["step"] or child["name"]
        done = self._done(child)
        return bool(child["low_priority"] and self.faults.take("preempted", name, done=done))

    def _lose_node(self, child: Record) -> None:
        """Fail the step whose node is taken away for good, if a fault says so.

        A pipeline's step is not always queued again: its job then fails with this error
        (https://github.com/MicrosoftDocs/azure-docs/issues/66288). Raises StepFailed.
        """
        name = child["step"] or child["name"]
        if self.faults.take("node_lost", name, done=self._done(child)):
            text = "AzureMLCompute job failed. PreemptionError: Nodes of this job got pre-empted."
            raise StepFailed(child["name"], self.runs.error("UserError", text))

    def _done(self, child: Record) -> int:
        return records.last_step(records.metrics_file(self.runs.folder, child))
