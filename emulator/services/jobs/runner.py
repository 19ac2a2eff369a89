"""Runs jobs as real processes: the fine-tuning component's five steps, a command of the user's, a
pipeline of such commands.

Exit codes make statuses, log files make error texts, metrics files make curves. A job's record says
all there is to know about it, so whatever was submitted is found again after a restart.
"""

import asyncio
import logging
import shutil
from dataclasses import dataclass, field

from emulator.latency import Profile
from emulator.services.jobs import records
from emulator.services.jobs.command_jobs import CommandJobs
from emulator.services.jobs.fine_tunes import FineTunes
from emulator.services.jobs.records import ENDED, Record
from emulator.services.jobs.runs import Runs, StepFailed

log = logging.getLogger(__name__)


@dataclass
class Runner:
    """The life of all jobs of one emulator, from submission to end."""

    runs: Runs
    profile: Profile
    fine_tunes: FineTunes
    command_jobs: CommandJobs
    _tasks: dict[str, asyncio.Task[None]] = field(default_factory=dict)

    async def submit(self, job_key: str) -> None:
        """Start the job in the background. A job that is under way or has ended is left alone."""
        record = self.runs.record(job_key)
        if job_key in self._tasks or record["status"] != "NotStarted":
            return
        self.runs.announce(record)
        for child in self.runs.children(job_key):
            self.runs.announce(child)
        self._start(job_key)

    async def cancel(self, job_key: str) -> None:
        """Ask the job to stop: CancelRequested at once, Canceled when its process is gone."""
        record = self.runs.record(job_key)
        if record["status"] in (*ENDED, "CancelRequested"):
            return
        self.runs.set(job_key, status="CancelRequested")
        task = self._tasks.get(job_key)
        if task is None:
            self._cancelled(job_key)
        else:
            task.cancel()

    async def until_ended(self, job_key: str) -> None:
        """Return when nothing of the job runs any more."""
        task = self._tasks.get(job_key)
        if task is not None:
            await asyncio.wait([task])

    async def recover(self) -> None:
        """After a restart: start what was queued, tell the truth about what was running."""
        for record in self.runs.jobs.all():
            if record["status"] in ENDED:
                continue
            if record["status"] == "CancelRequested":
                self._cancelled(record["name"])
            elif self._waits(record):
                self._start(record["name"])
            else:
                self._lost(record)

    def _waits(self, record: Record) -> bool:
        """Whether no program of the job has been started yet."""
        programs = [record] if record.get("command") else self.runs.jobs.steps(record)
        return all(one["status"] in ("NotStarted", "Preparing", "Queued") for one in programs)

    async def close(self) -> None:
        """Stop all jobs where they are; ``recover`` deals with them at the next start."""
        tasks = list(self._tasks.values())
        self._tasks.clear()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    # -- the life of a job

    def _start(self, name: str) -> None:
        task = asyncio.create_task(self._run(name), name=f"job {name}")
        self._tasks[name] = task
        task.add_done_callback(lambda _: self._tasks.pop(name, None))

    async def _run(self, name: str) -> None:
        try:
            await self.runs.clock.sleep(self.profile.seconds("job.queue"))
            await self._whole(self.runs.record(name))
        except asyncio.CancelledError:
            if self.runs.record(name)["status"] == "CancelRequested":
                self._cancelled(name)
            raise
        except StepFailed as failure:
            self._step_failed(name, failure)
        except Exception:  # the job must not stay Running for good because of a fault of ours
            log.exception("job %s", name)
            text = "The service failed to run the job; see the emulator's log."
            self.runs.end(name, "Failed", self.runs.error("SystemError", text))
        finally:
            await asyncio.to_thread(self._tidy, name)

    async def _whole(self, record: Record) -> None:
        name = record["name"]
        if record.get("command"):
            await self.command_jobs.run(record)
            return
        record = self.runs.begin(name)
        self.runs.say(record, "The pipeline has started.")
        if record.get("graph"):
            await self.command_jobs.run_graph(record)
        else:
            await self.fine_tunes.run(record)
        self.runs.end(name, "Completed")

    # -- how it ends

    def _step_failed(self, name: str, failure: StepFailed) -> None:
        child = self.runs.end(failure.child, failure.status, failure.error)
        if failure.child == name:
            return
        record = self.runs.record(name)
        self.runs.say(record, f"Step {child['step']} failed.")
        self.runs.end(name, "Failed", records.pipeline_error(child, self.runs.location))

    def _cancelled(self, name: str) -> None:
        for child in self.runs.children(name):
            if child["status"] not in ENDED:
                self.runs.end(child["name"], "Canceled")
        self.runs.say(self.runs.record(name), "The pipeline was cancelled.")
        self.runs.end(name, "Canceled")

    def _lost(self, record: Record) -> None:
        """A job whose processes went with an emulator that was killed."""
        text = (
            "The job was running when the service stopped, and its processes went with it. "
            "Submit it again under another name."
        )
        failure = self.runs.error("ServiceRestarted", text)
        for child in self.runs.children(record["name"]):
            if child["status"] in ("Running", "Queued", "Preparing", "Finalizing"):
                self._step_failed(record["name"], StepFailed(child["name"], failure))
                return
        self.runs.end(record["name"], "Failed", failure)

    def _tidy(self, name: str) -> None:
        """Drop the steps' working folders, but not what explains them: specs and metrics."""
        for child in (*self.runs.children(name), self.runs.record(name)):
            for entry in self.runs.step_folder(child).glob("*/"):
                if entry.is_dir():
                    shutil.rmtree(entry, ignore_errors=True)
