"""Runs jobs as real processes: the fine-tuning component's five steps one after another, a command
of the user's, a pipeline of such commands.

Exit codes make statuses, log files make error texts, metrics files make curves. A job's record says
all there is to know about it, so whatever was submitted is found again after a restart.
"""

import asyncio
import json
import logging
import math
import os
import shutil
import sys
import time
from collections.abc import Awaitable, Callable
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
from emulator.services.jobs.command_runs import CommandRuns, program
from emulator.services.jobs.events import Webhook
from emulator.services.jobs.records import ENDED, Jobs, Record
from emulator.services.jobs.staging import NotStaged, Staged
from emulator.services.jobs.steps import STEPS, Step, spec
from emulator.services.storage.blobs import Storage

log = logging.getLogger(__name__)

STD_LOG = "user_logs/std_log.txt"
EXECUTION_LOG = "logs/azureml/executionlogs.txt"
#: The output in which the published component keeps its checkpoints while it trains.
CHECKPOINTED = "pytorch_model_folder"
LOOK_EVERY_S = 0.5  # at a running step's metrics file


class Tracking(Protocol):
    """Where runs and their metrics are shown; told that a run has something new."""

    def touch(self, name: str) -> None: ...


class StepFailed(Exception):
    """A program ended badly, or could not begin; ``error`` is run history's shape.

    ``status`` is what becomes of the run.
    """

    def __init__(self, child: str, error: dict[str, Any], status: str = "Failed") -> None:
        super().__init__(child, error, status)
        self.child = child
        self.error = error
        self.status = status


class TimedOut(Exception):
    """A program ran longer than its job allows."""


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
    commands: CommandRuns
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
        for record in self.jobs.all():
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
        programs = [record] if record.get("command") else self.jobs.steps(record)
        return all(one["status"] in ("NotStarted", "Preparing", "Queued") for one in programs)

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
            await self.clock.sleep(self.profile.seconds("job.queue"))
            await self._whole(self._record(name))
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

    async def _whole(self, record: Record) -> None:
        name = record["name"]
        if record.get("command"):
            await self._command(record)
            return
        record = self._set(name, status="Running", started=self.clock.now())
        self._say(record, "The pipeline has started.")
        if record.get("graph"):
            await self._graph(record)
        else:
            await self._fine_tune(record)
        self._end(name, "Completed")

    async def _fine_tune(self, record: Record) -> None:
        name = record["name"]
        plan = await self._plan(record)
        for step, child in zip(STEPS, self.children(name), strict=True):
            await self._step(record, step, child, plan)
        await asyncio.to_thread(self._publish, record, plan)
        outputs = {output: self._place(record, output) for output in record["bound_outputs"]}
        self._set(name, outputs=outputs)

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
        code = await self._on_node(job, child, lambda: self._program(step, child, plan))
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

    async def _on_node(
        self, job: Record, child: Record, work: Callable[[], Awaitable[int | None]]
    ) -> int:
        """Do the work on a node of the run's compute, again where the node is taken away."""
        while True:
            async with self.nodes.hold(child["compute"]):
                self._set(child["name"], status="Running", started=self.clock.now())
                self._say(job, f"Step {child['step']} runs.")
                code = await work()
            if code is not None:
                return code
            await self.nodes.lost(child["compute"])
            self._set(child["name"], status="Queued")
            self._say(job, f"Step {child['step']}: its node was pre-empted; queued again.")

    async def _program(self, step: Step, child: Record, plan: Plan) -> int | None:
        """Run the step's program; its exit code, or None if its node was taken away."""
        folder = self._step_folder(child)
        if folder.exists() and not _resumes(plan):
            await asyncio.to_thread(shutil.rmtree, folder)
        folder.mkdir(parents=True, exist_ok=True)
        if fault := self.faults.take("service_fails", step.name):
            failure = records.error("ServiceError", str(fault["message"]), self.location)
            raise StepFailed(child["name"], failure)
        document = folder / "spec.json"
        paths = {**plan.paths, **self._checkpoints(child, step)}
        document.write_text(json.dumps(spec(plan.parameters, paths, plan.outputs), indent=1))
        argv = self._argv(step, document, folder, plan)
        running = await self.processes.start(
            f"{child['root']}/{step.name}", argv, cwd=folder, log=self.log_path(child)
        )
        try:
            preempted = await self._watch(running, child)
        finally:
            await running.stop()
        return None if preempted else await running.wait()

    def _checkpoints(self, child: Record, step: Step) -> dict[str, str]:
        """Where the step keeps its checkpoints: in its output, if the job says where that is.

        Then they outlive the job, and the next one with the same place finds them.
        """
        job = self._record(child["root"])
        for output, inner in job["bound_outputs"].items():
            if inner == step.output == CHECKPOINTED and output in job.get("output_places", {}):
                return {"checkpoint_folder": str(self._writable(child, self._place(job, output)))}
        return {}

    def _writable(self, child: Record, uri: str) -> Path:
        """A folder of the workspace's storage. Raises StepFailed: there is no such storage."""
        try:
            place = self.locations.path(uri)
        except (Unresolvable, ArmError) as problem:
            text = f"Output '{uri}' cannot be written. {problem}"
            failure = records.error("DataAccessError", text, self.location)
            raise StepFailed(child["name"], failure) from problem
        place.mkdir(parents=True, exist_ok=True)
        return place

    def _place(self, job: Record, output: str) -> str:
        """Where a job's output goes: as it says, or where the service puts it."""
        given = job.get("output_places", {}).get(output)
        return str(given or records.output_uri(job["name"], output))

    # -- commands

    async def _graph(self, job: Record) -> None:
        """Run the steps of a pipeline, each when those that it needs have completed."""
        children = self.children(job["name"])
        done = {child["step"]: asyncio.Event() for child in children}
        failed: list[StepFailed] = []

        async def one(child: Record) -> None:
            needs = child["command"]["needs"]
            for need in needs:
                await done[need].wait()
            if failed and any(self._ended_badly(job, need) for need in needs):
                self._end(child["name"], "Canceled")
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
        self._set(job["name"], outputs=job["bound"])

    async def _child(self, job: Record, child: Record, failed: list[StepFailed]) -> None:
        """Run one step; a failure ends the others too, or goes to those that have ``failed``."""
        self._say(job, f"Submitting step {child['step']} to {child['compute']}.")
        try:
            await self._command(child)
        except StepFailed as failure:
            if not job["continues"]:
                raise
            self._end(failure.child, failure.status, failure.error)
            failed.append(failure)
        else:
            self._say(job, f"Step {child['step']} completed.")

    def _ended_badly(self, job: Record, step: str) -> bool:
        found = [one for one in self.children(job["name"]) if one["step"] == step]
        return any(one["status"] != "Completed" for one in found)

    def _stop_children(self, job: Record, why: Exception) -> None:
        """What was under way when another step failed was cancelled."""
        failed = why.child if isinstance(why, StepFailed) else None
        for child in self.children(job["name"]):
            if child["name"] != failed and child["status"] not in (*ENDED, "NotStarted"):
                self._end(child["name"], "Canceled")

    async def _command(self, record: Record) -> None:
        """Run a command from its image to its outputs. Raises StepFailed."""
        name = record["name"]
        self._set(name, status="Preparing")
        lacking = self.commands.lacking(record)
        if lacking:
            text = (
                "Image build failed. The emulator's own Python is the only image, and it has not: "
                f"{'; '.join(lacking)}."
            )
            raise StepFailed(name, records.error("ImageBuildFailure", text, self.location))
        self._set(name, status="Queued")
        code = await self._on_node(
            self._record(record["root"]), record, lambda: self._staged_command(record)
        )
        if code == 0:
            outputs = {key: one["uri"] for key, one in record["command"]["outputs"].items()}
            self._set(name, outputs=outputs)
            self._end(name, "Completed")

    async def _staged_command(self, record: Record) -> int | None:
        """Stage, run and collect on a node that is held; 0, or None if the node was taken away."""
        name = record["name"]
        try:
            folder = self._step_folder(record)
            staged = await self.commands.stage(record, folder, self._path)
        except (Unresolvable, NoBaseWeights, ProcessNotStarted, ArmError, NotStaged) as problem:
            failure = records.error("DataAccessError", str(problem), self.location)
            raise StepFailed(name, failure) from problem
        try:
            code = await self._command_program(record, staged)
            if code:
                said = last_line(self.log_path(record))
                error = records.step_error(code, STD_LOG, said, self.location, program(staged))
                raise StepFailed(name, error)
            if code == 0:
                self._set(name, status="Finalizing")
                await self.commands.upload(staged)
        finally:
            await self.commands.keep(record, staged)
        return code

    async def _command_program(self, record: Record, staged: Staged) -> int | None:
        fault = self.faults.take("step_fails", record["step"] or record["name"])
        told = str(fault.get("message") or "The step was told to fail.") if fault else ""
        running = await self.commands.start(record, staged, self.log_path(record), told)
        limit = record["command"]["timeout"]
        try:
            preempted = await self._watch(running, record, limit)
        except TimedOut as late:
            text = f"The job was cancelled: it ran longer than its limit of {limit:g} s."
            error = records.error("JobTimeoutExceeded", text, self.location)
            raise StepFailed(record["name"], error, "Canceled") from late
        finally:
            await running.stop()
        return None if preempted else await running.wait()

    # -- a program that runs

    def _argv(self, step: Step, document: Path, folder: Path, plan: Plan) -> list[str]:
        fault = self.faults.take("step_fails", step.name) or self._out_of_memory(step, plan)
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

    def _out_of_memory(self, step: Step, plan: Plan) -> dict[str, Any] | None:
        """The words of a training whose batch the GPU has no room for, if a fault says so."""
        if step.output != CHECKPOINTED:
            return None
        rows = int(plan.parameters.get("per_device_train_batch_size") or 1)
        fault = self.faults.take("out_of_memory", step.name, rows=rows)
        said = "torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 GiB."
        return {**fault, "message": said} if fault else None

    async def _watch(self, running: Running, child: Record, limit: float | None = None) -> bool:
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
            raise StepFailed(child["name"], records.error("UserError", text, self.location))

    def _done(self, child: Record) -> int:
        return records.last_step(records.metrics_file(self.folder, child))

    # -- how it ends

    def _step_failed(self, name: str, failure: StepFailed) -> None:
        child = self._end(failure.child, failure.status, failure.error)
        if failure.child == name:
            return
        record = self._record(name)
        self._say(record, f"Step {child['step']} failed.")
        self._end(name, "Failed", records.pipeline_error(child, self.location))

    def _cancelled(self, name: str) -> None:
        for child in self.children(name):
            if child["status"] not in ENDED:
                self._end(child["name"], "Canceled")
        self._say(self._record(name), "The pipeline was cancelled.")  # a command's log is its own
        self._end(name, "Canceled")

    def _lost(self, record: Record) -> None:
        """A job whose processes went with an emulator that was killed."""
        text = (
            "The job was running when the service stopped, and its processes went with it. "
            "Submit it again under another name."
        )
        for child in self.children(record["name"]):
            if child["status"] in ("Running", "Queued", "Preparing", "Finalizing"):
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
            target = self.locations.path(self._place(record, output))
            if output not in record.get("output_places", {}):
                shutil.rmtree(target, ignore_errors=True)
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copytree(source, target, copy_function=_link, dirs_exist_ok=True)

    def _tidy(self, name: str) -> None:
        """Drop the steps' working folders, but not what explains them: specs and metrics."""
        for child in (*self.children(name), self._record(name)):
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
        if records.runs_a_program(record):
            return
        path = self.log_path(record)
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("a") as file:
            file.write(f"[{records.utc(round(self.clock.now()))}] {text}\n")

    def _step_folder(self, child: Record) -> Path:
        return records.step_folder(self.folder, child)


def _link(source: str, target: str) -> None:
    """Put a file there without copying it: weights are large."""
    Path(target).unlink(missing_ok=True)
    os.link(source, target)


def log_name(record: Record) -> str:
    """Where a run's log is among its artifacts."""
    return STD_LOG if records.runs_a_program(record) else EXECUTION_LOG
