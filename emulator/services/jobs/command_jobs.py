"""Commands of the user's own: one alone, or the steps of a pipeline, each when it can."""

import asyncio
from dataclasses import dataclass

from emulator.services.jobs import records
from emulator.services.jobs.base_weights import last_line
from emulator.services.jobs.command_runs import CommandRuns, program
from emulator.services.jobs.programs import Programs, TimedOut
from emulator.services.jobs.records import ENDED, Record
from emulator.services.jobs.runs import STD_LOG, Runs, StepFailed
from emulator.services.jobs.sources import UNREADABLE, Sources
from emulator.services.jobs.staging import NotStaged, Staged


@dataclass
class CommandJobs:
    """Runs commands by their records."""

    runs: Runs
    programs: Programs
    sources: Sources
    commands: CommandRuns

    async def run(self, record: Record) -> None:
        """Run a command from its image to its outputs. Raises StepFailed."""
        name = record["name"]
        self.runs.set(name, status="Preparing")
        lacking = self.commands.lacking(record)
        if lacking:
            text = (
                "Image build failed. The emulator's own Python is the only image, and it has not: "
                f"{'; '.join(lacking)}."
            )
            raise StepFailed(name, self.runs.error("ImageBuildFailure", text))
        self.runs.set(name, status="Queued")
        job = self.runs.record(record["root"])
        code = await self.programs.on_node(job, record, lambda: self._staged(record))
        if code == 0:
            outputs = {key: one["uri"] for key, one in record["command"]["outputs"].items()}
            self.runs.set(name, outputs=outputs)
            self.runs.end(name, "Completed")

    async def _staged(self, record: Record) -> int | None:
        """Stage, run and collect on a node that is held; 0, or None if the node was taken away."""
        name = record["name"]
        try:
            folder = self.runs.step_folder(record)
            staged = await self.commands.stage(record, folder, self.sources.path)
        except (*UNREADABLE, NotStaged) as problem:
            failure = self.runs.error("DataAccessError", str(problem))
            raise StepFailed(name, failure) from problem
        try:
            code = await self._program(record, staged)
            if code:
                said, where = last_line(self.runs.log_path(record)), self.runs.location
                error = records.step_error(code, STD_LOG, said, where, program(staged))
                raise StepFailed(name, error)
            if code == 0:
                self.runs.set(name, status="Finalizing")
                await self.commands.upload(staged)
        finally:
            await self.commands.keep(record, staged)
        return code

    async def _program(self, record: Record, staged: Staged) -> int | None:
        fault = self.programs.faults.take("step_fails", record["step"] or record["name"])
        told = str(fault.get("message") or "The step was told to fail.") if fault else ""
        running = await self.commands.start(record, staged, self.runs.log_path(record), told)
        limit = record["command"]["timeout"]
        try:
            preempted = await self.programs.watch(running, record, limit)
        except TimedOut as late:
            text = f"The job was cancelled: it ran longer than its limit of {limit:g} s."
            error = self.runs.error("JobTimeoutExceeded", text)
            raise StepFailed(record["name"], error, "Canceled") from late
        finally:
            await running.stop()
        return None if preempted else await running.wait()

    # -- pipelines

    async def run_graph(self, job: Record) -> None:
        """Run the steps of a pipeline, each when those that it needs have completed.

        Raises StepFailed.
        """
        children = self.runs.children(job["name"])
        done = {child["step"]: asyncio.Event() for child in children}
        failed: list[StepFailed] = []

        async def one(child: Record) -> None:
            needs = child["command"]["needs"]
            for need in needs:
                await done[need].wait()
            if failed and any(self._ended_badly(job, need) for need in needs):
                self.runs.end(child["name"], "Canceled")
            else:
                await self._child(job, child, failed)
            done[child["step"]].set()

        try:
            async with asyncio.TaskGroup() as group:
                for child in children:
                    group.create_task(one(child))
        except ExceptionGroup as problems:
            self._stop_children(job, problems.exceptions[0])
            raise problems.exceptions[0] from None
        if failed:
            raise failed[0]
        self.runs.set(job["name"], outputs=job["bound"])

    async def _child(self, job: Record, child: Record, failed: list[StepFailed]) -> None:
        """Run one step; a failure ends the others too, or goes to those that have ``failed``."""
        self.runs.say(job, f"Submitting step {child['step']} to {child['compute']}.")
        try:
            await self.run(child)
        except StepFailed as failure:
            if not job["continues"]:
                raise
            self.runs.end(failure.child, failure.status, failure.error)
            failed.append(failure)
        else:
            self.runs.say(job, f"Step {child['step']} completed.")

    def _ended_badly(self, job: Record, step: str) -> bool:
        found = [one for one in self.runs.children(job["name"]) if one["step"] == step]
        return any(one["status"] != "Completed" for one in found)

    def _stop_children(self, job: Record, why: Exception) -> None:
        """What was under way when another step failed was cancelled."""
        failed = why.child if isinstance(why, StepFailed) else None
        for child in self.runs.children(job["name"]):
            if child["name"] != failed and child["status"] not in (*ENDED, "NotStarted"):
                self.runs.end(child["name"], "Canceled")
