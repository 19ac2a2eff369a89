"""Runs pipeline jobs: the component's five steps, one after another, as real processes.

Exit codes make statuses, log files make error texts, metrics files make curves. A job's record says
all there is to know about it, so whatever was submitted is found again after a restart.
"""

import asyncio
import json
import logging
import os
import shutil
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from emulator.clock import Clock
from emulator.faults import Faults
from emulator.latency import Profile
from emulator.processes.children import Processes, ProcessNotStarted, Running
from emulator.protocol.errors import ArmError
from emulator.services.assets.addresses import Locations, Unresolvable, registry_of
from emulator.services.compute.nodes import Nodes
from emulator.services.jobs import records
from emulator.services.jobs.base_weights import BaseWeights, NoBaseWeights, last_line
from emulator.services.jobs.events import Webhook
from emulator.services.jobs.records import ENDED, Jobs, Record
from emulator.services.jobs.steps import STEPS, Step, spec
from emulator.services.storage.blobs import Storage

log = logging.getLogger(__name__)

STD_LOG = "user_logs/std_log.txt"
EXECUTION_LOG = "logs/azureml/executionlogs.txt"
LOOK_EVERY_S = 0.5  # at a running step's metrics file


class Tracking(Protocol):
    """Where runs and their metrics are shown; told that a run has something new."""

    def touch(self, name: str) -> None: ...


class StepFailed(Exception):
    """A step's program ended badly, or could not begin; ``error`` is run history's shape."""

    def __init__(self, child: str, error: dict[str, Any]) -> None:
        super().__init__(child, error)
        self.child = child
        self.error = error


@dataclass
class Plan:
    """What a job's steps share: values, input paths, and the output folders made so far."""

    parameters: dict[str, Any]
    paths: dict[str, str]
    outputs: dict[str, Path] = field(default_factory=dict)


def _resumes(plan: Plan) -> bool:
    """Tell whether a step that lost its node goes on from the checkpoint that it wrote there."""
    return str(plan.parameters.get("resume_from_checkpoint", "")).lower() == "true"


@dataclass
class Runner:
    """All jobs of one emulator. ``folder`` holds their working folders."""

    folder: Path
    jobs: Jobs
    clock: Clock
    profile: Profile
    faults: Faults
    processes: Processes
    nodes: Nodes
    tracking: Tracking
    webhook: Webhook
    storage: Storage
    locations: Locations
    published: Callable[[str], bool]  # whether the registry has the model at an address
    weights: BaseWeights
    workloads: Path
    location: str
    _tasks: dict[str, asyncio.Task[None]] = field(default_factory=dict)

    async def submit(self, job_key: str) -> None:
        """Start the job in the background. A job that is under way or has ended is left alone."""
        record = self._record(job_key)
        if job_key in self._tasks or record["status"] != "NotStarted":
            return
        self._announce(record)
        for child in self.children(job_key):
            self._announce(child)
        self._start(job_key)

    async def cancel(self, job_key: str) -> None:
        """Ask the job to stop: CancelRequested at once, Canceled when its process is gone."""
        record = self._record(job_key)
        if record["status"] in (*ENDED, "CancelRequested"):
            return
        self._set(job_key, status="CancelRequested")
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
        for record in self.jobs.pipelines():
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
        return all(step["status"] in ("NotStarted", "Queued") for step in self.jobs.steps(record))

    async def close(self) -> None:
        """Stop all jobs where they are; ``recover`` deals with them at the next start."""
        tasks = list(self._tasks.values())
        self._tasks.clear()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def children(self, job_key: str) -> list[Record]:
        """The job's steps in their order."""
        return self.jobs.steps(self._record(job_key))

    def log_path(self, record: Record) -> Path:
        """The log of a run: what its program printed, or what became of the pipeline's steps."""
        folder = records.artifact_folder(record["name"])
        return self.storage.path(records.ARTIFACTS, f"{folder}/{log_name(record)}")

    # -- the life of a job

    def _start(self, name: str) -> None:
        task = asyncio.create_task(self._run(name), name=f"job {name}")
        self._tasks[name] = task
        task.add_done_callback(lambda _: self._tasks.pop(name, None))

    async def _run(self, name: str) -> None:
        try:
            await self._pipeline(name)
        except asyncio.CancelledError:
            if self._record(name)["status"] == "CancelRequested":
                self._cancelled(name)
            raise
        except StepFailed as failure:
            self._step_failed(name, failure)
        except Exception:  # the job must not stay Running for good because of a fault of ours
            log.exception("job %s", name)
            text = "The service failed to run the job; see the emulator's log."
            self._end(name, "Failed", records.error("SystemError", text, self.location))
        finally:
            await asyncio.to_thread(self._tidy, name)

    async def _pipeline(self, name: str) -> None:
        await self.clock.sleep(self.profile.seconds("job.queue"))
        record = self._set(name, status="Running", started=self.clock.now())
        self._say(record, "The pipeline has started.")
        plan = await self._plan(record)
        for step, child in zip(STEPS, self.children(name), strict=True):
            await self._step(record, step, child, plan)
        await asyncio.to_thread(self._publish, record, plan)
        outputs = {output: records.output_uri(name, output) for output in record["bound_outputs"]}
        self._set(name, outputs=outputs)
        self._end(name, "Completed")

    async def _plan(self, record: Record) -> Plan:
        """Resolve the job's inputs. What cannot be resolved fails the first step."""
        paths = {}
        for name, uri in record["addresses"].items():
            try:
                paths[name] = str(await self._path(uri))
            except (
                Unresolvable,
                NoBaseWeights,
                ProcessNotStarted,
                ArmError,
            ) as problem:
                first = record["children"][0]
                text = f"Input '{name}' cannot be read. {problem}"
                self._set(first, status="Running", started=self.clock.now())
                failure = records.error("DataAccessError", text, self.location)
                raise StepFailed(first, failure) from problem
        return Plan(record["parameters"], paths)

    async def _path(self, uri: str) -> Path:
        if registry_of(uri):
            if not self.published(uri):
                raise Unresolvable(f"The registry has no model '{uri}'.")
            return await self.weights.folder()
        path = self.locations.path(uri)
        if not path.exists():
            raise Unresolvable(f"There is nothing at '{uri}'.")
        return path

    async def _step(self, job: Record, step: Step, child: Record, plan: Plan) -> None:
        self._set(child["name"], status="Queued")
        self._say(job, f"Submitting step {step.name} to {child['compute']}.")
        while True:
            async with self.nodes.hold(child["compute"]):
                self._set(child["name"], status="Running", started=self.clock.now())
                self._say(job, f"Step {step.name} runs.")
                code = await self._program(step, child, plan)
            if code is not None:
                break
            await self.nodes.lost(child["compute"])
            self._set(child["name"], status="Queued")
            self._say(job, f"Step {step.name}: its node was pre-empted; queued again.")
        if code != 0:
            said = last_line(self.log_path(child))
            raise StepFailed(
                child["name"],
                records.step_error(code, STD_LOG, said, self.location),
            )
        if step.output:
            plan.outputs[step.output] = self._step_folder(child) / step.output
        self._end(child["name"], "Completed")
        self._say(job, f"Step {step.name} completed.")

    async def _program(self, step: Step, child: Record, plan: Plan) -> int | None:
        """Run the step's program; its exit code, or None if its node was taken away."""
        folder = self._step_folder(child)
        if folder.exists() and not _resumes(plan):
            await asyncio.to_thread(shutil.rmtree, folder)
        folder.mkdir(parents=True, exist_ok=True)
        document = folder / "spec.json"
        document.write_text(json.dumps(spec(plan.parameters, plan.paths, plan.outputs), indent=1))
        argv = self._argv(step, document, folder)
        running = await self.processes.start(
            f"{child['root']}/{step.name}", argv, cwd=folder, log=self.log_path(child)
        )
        try:
            preempted = await self._watch(running, step, child)
        finally:
            await running.stop()
        return None if preempted else await running.wait()

    def _argv(self, step: Step, document: Path, folder: Path) -> list[str]:
        fault = self.faults.take("step_fails", step.name)
        if fault:  # a program of its own, so that the status still comes from an exit code
            said = str(fault.get("message") or f"Step {step.name} was told to fail.")
            return [sys.executable, "-c", "import sys; sys.exit(sys.argv[1])", said]
        program = self.workloads / step.program
        return [
            sys.executable,
            str(program),
            "--spec",
            str(document),
            "--out",
            str(folder),
        ]

    async def _watch(self, running: Running, step: Step, child: Record) -> bool:
        """Follow the program's metrics until it ends; whether its node was taken before that."""
        ended = asyncio.ensure_future(running.wait())
        seen = 0
        try:
            while not ended.done():
                await asyncio.wait([ended], timeout=LOOK_EVERY_S)
                seen = self._tell_metrics(child, seen)
                if running.running and self._preempted(step, child):
                    return True
                await self._lose_contact(running, step, child)
        finally:
            ended.cancel()
        return False

    async def _lose_contact(self, running: Running, step: Step, child: Record) -> None:
        """Hold the program for a while, as a node that is not heard from; then it goes on.

        A job "can go from NotResponding to any of the previous states": azure-ai-ml,
        azure/ai/ml/_restclient/arm_ml_service/models/_enums.py, JobStatus.
        """
        fault = self.faults.take("not_responding", step.name) if running.running else None
        if fault is None:
            return
        silent = (child["name"], child["root"])
        running.hold()
        try:
            for name in silent:
                self._set(name, status="NotResponding")
            await asyncio.sleep(float(fault["seconds"]))  # the fault is in real seconds
        finally:
            running.release()
            for name in silent:
                if self._record(name)["status"] == "NotResponding":
                    self._set(name, status="Running")

    def _tell_metrics(self, child: Record, seen: int) -> int:
        path = records.metrics_file(self.folder, child)
        size = path.stat().st_size if path.exists() else 0
        if size != seen:
            self.tracking.touch(child["name"])
        return size

    def _preempted(self, step: Step, child: Record) -> bool:
        return bool(child["low_priority"] and self.faults.take("preempted", step.name))

    # -- how it ends

    def _step_failed(self, name: str, failure: StepFailed) -> None:
        child = self._end(failure.child, "Failed", failure.error)
        record = self._record(name)
        self._say(record, f"Step {child['step']} failed.")
        self._end(name, "Failed", records.pipeline_error(child, self.location))

    def _cancelled(self, name: str) -> None:
        for child in self.children(name):
            if child["status"] not in ENDED:
                self._end(child["name"], "Canceled")
        self._say(self._record(name), "The pipeline was cancelled.")
        self._end(name, "Canceled")

    def _lost(self, record: Record) -> None:
        """A job whose processes went with an emulator that was killed."""
        text = (
            "The job was running when the service stopped, and its processes went with it. "
            "Submit it again under another name."
        )
        for child in self.children(record["name"]):
            if child["status"] in ("Running", "Queued"):
                failure = records.error("ServiceRestarted", text, self.location)
                self._step_failed(record["name"], StepFailed(child["name"], failure))
                return
        self._end(
            record["name"],
            "Failed",
            records.error("ServiceRestarted", text, self.location),
        )

    def _publish(self, record: Record, plan: Plan) -> None:
        """Put the job's outputs where the workspace's datastore shows them."""
        for output, inner in record["bound_outputs"].items():
            source = plan.outputs.get(inner)
            if source is None or not source.is_dir():
                raise FileNotFoundError(f"no step made the output {inner}")
            target = self.storage.path(records.OUTPUTS, f"azureml/{record['name']}/{output}")
            shutil.rmtree(target, ignore_errors=True)
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copytree(source, target, copy_function=os.link)  # weights are large

    def _tidy(self, name: str) -> None:
        """Drop the steps' working folders, but not what explains them: specs and metrics."""
        for child in self.children(name):
            for entry in self._step_folder(child).glob("*/"):
                if entry.is_dir():
                    shutil.rmtree(entry, ignore_errors=True)

    # -- records

    def _record(self, name: str) -> Record:
        record = self.jobs.get(name)
        if record is None:
            raise KeyError(name)
        return record

    def _set(self, name: str, **changes: Any) -> Record:
        record = self._record(name)
        news = changes.get("status", record["status"]) != record["status"]
        record.update(changes)
        self.jobs.put(record)
        if news:
            self._announce(record)
        return record

    def _end(self, name: str, status: str, error: dict[str, Any] | None = None) -> Record:
        return self._set(name, status=status, error=error, ended=self.clock.now())

    def _announce(self, record: Record) -> None:
        self.tracking.touch(record["name"])
        self.webhook.tell(record)

    def _say(self, record: Record, text: str) -> None:
        path = self.log_path(record)
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("a") as file:
            file.write(f"[{records.utc(round(self.clock.now()))}] {text}\n")

    def _step_folder(self, child: Record) -> Path:
        return records.step_folder(self.folder, child)


def log_name(record: Record) -> str:
    """Where a run's log is among its artifacts."""
    return STD_LOG if record["step"] else EXECUTION_LOG
