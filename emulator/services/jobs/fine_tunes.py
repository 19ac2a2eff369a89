"""The fine-tuning component's five steps, one after another."""

import asyncio
import json
import os
import shutil
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from emulator.processes.children import Processes
from emulator.services.jobs import records
from emulator.services.jobs.base_weights import last_line
from emulator.services.jobs.programs import Programs
from emulator.services.jobs.records import Record
from emulator.services.jobs.runs import STD_LOG, Runs, StepFailed
from emulator.services.jobs.sources import UNREADABLE, Sources
from emulator.services.jobs.steps import STEPS, Step, spec

#: The output in which the published component keeps its checkpoints while it trains.
CHECKPOINTED = "pytorch_model_folder"


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
class FineTunes:
    """Runs the pipeline that calls the catalogue's component; ``workloads`` are its programs."""

    runs: Runs
    programs: Programs
    sources: Sources
    processes: Processes
    workloads: Path

    async def run(self, record: Record) -> None:
        """Raises StepFailed."""
        name = record["name"]
        plan = await self._plan(record)
        for step, child in zip(STEPS, self.runs.children(name), strict=True):
            await self._step(record, step, child, plan)
        await asyncio.to_thread(self._publish, record, plan)
        outputs = {output: self._place(record, output) for output in record["bound_outputs"]}
        self.runs.set(name, outputs=outputs)

    async def _plan(self, record: Record) -> Plan:
        """Resolve the job's inputs. What cannot be resolved fails the first step."""
        paths = {}
        for name, uri in record["addresses"].items():
            try:
                paths[name] = str(await self.sources.path(uri))
            except UNREADABLE as problem:
                first = record["children"][0]
                text = f"Input '{name}' cannot be read. {problem}"
                self.runs.begin(first)
                raise StepFailed(first, self.runs.error("DataAccessError", text)) from problem
        return Plan(record["parameters"], paths)

    async def _step(self, job: Record, step: Step, child: Record, plan: Plan) -> None:
        self.runs.set(child["name"], status="Queued")
        self.runs.say(job, f"Submitting step {step.name} to {child['compute']}.")
        code = await self.programs.on_node(job, child, lambda: self._program(step, child, plan))
        if code != 0:
            said = last_line(self.runs.log_path(child))
            raise StepFailed(
                child["name"], records.step_error(code, STD_LOG, said, self.runs.location)
            )
        if step.output:
            plan.outputs[step.output] = self.runs.step_folder(child) / step.output
        self.runs.end(child["name"], "Completed")
        self.runs.say(job, f"Step {step.name} completed.")

    async def _program(self, step: Step, child: Record, plan: Plan) -> int | None:
        """Run the step's program; its exit code, or None if its node was taken away."""
        folder = self.runs.step_folder(child)
        if folder.exists() and not _resumes(plan):
            await asyncio.to_thread(shutil.rmtree, folder)
        folder.mkdir(parents=True, exist_ok=True)
        if fault := self.programs.faults.take("service_fails", step.name):
            failure = self.runs.error("ServiceError", str(fault["message"]))
            raise StepFailed(child["name"], failure)
        document = folder / "spec.json"
        paths = {**plan.paths, **self._checkpoints(child, step)}
        document.write_text(json.dumps(spec(plan.parameters, paths, plan.outputs), indent=1))
        argv = self._argv(step, document, folder, plan)
        running = await self.processes.start(
            f"{child['root']}/{step.name}", argv, cwd=folder, log=self.runs.log_path(child)
        )
        try:
            preempted = await self.programs.watch(running, child)
        finally:
            await running.stop()
        return None if preempted else await running.wait()

    def _checkpoints(self, child: Record, step: Step) -> dict[str, str]:
        """Where the step keeps its checkpoints: in its output, if the job says where that is.

        Then they outlive the job, and the next one with the same place finds them.
        """
        job = self.runs.record(child["root"])
        for output, inner in job["bound_outputs"].items():
            if inner == step.output == CHECKPOINTED and output in job.get("output_places", {}):
                return {"checkpoint_folder": str(self._writable(child, self._place(job, output)))}
        return {}

    def _writable(self, child: Record, uri: str) -> Path:
        """A folder of the workspace's storage. Raises StepFailed: there is no such storage."""
        try:
            place = self.sources.locations.path(uri)
        except UNREADABLE as problem:
            text = f"Output '{uri}' cannot be written. {problem}"
            raise StepFailed(child["name"], self.runs.error("DataAccessError", text)) from problem
        place.mkdir(parents=True, exist_ok=True)
        return place

    def _place(self, job: Record, output: str) -> str:
        """Where a job's output goes: as it says, or where the service puts it."""
        given = job.get("output_places", {}).get(output)
        return str(given or records.output_uri(job["name"], output))

    def _argv(self, step: Step, document: Path, folder: Path, plan: Plan) -> list[str]:
        fault = self.programs.faults.take("step_fails", step.name)
        fault = fault or self._out_of_memory(step, plan)
        if fault:  # a program of its own, so that the status still comes from an exit code
            said = str(fault.get("message") or f"Step {step.name} was told to fail.")
            return [sys.executable, "-c", "import sys; sys.exit(sys.argv[1])", said]
        program = self.workloads / step.program
        return [sys.executable, str(program), "--spec", str(document), "--out", str(folder)]

    def _out_of_memory(self, step: Step, plan: Plan) -> dict[str, Any] | None:
        """The words of a training whose batch the GPU has no room for, if a fault says so."""
        if step.output != CHECKPOINTED:
            return None
        rows = int(plan.parameters.get("per_device_train_batch_size") or 1)
        fault = self.programs.faults.take("out_of_memory", step.name, rows=rows)
        said = "torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 GiB."
        return {**fault, "message": said} if fault else None

    def _publish(self, record: Record, plan: Plan) -> None:
        """Put the job's outputs where the workspace's datastore shows them."""
        for output, inner in record["bound_outputs"].items():
            source = plan.outputs.get(inner)
            if source is None or not source.is_dir():
                raise FileNotFoundError(f"no step made the output {inner}")
            target = self.sources.locations.path(self._place(record, output))
            if output not in record.get("output_places", {}):
                shutil.rmtree(target, ignore_errors=True)
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copytree(source, target, copy_function=_link, dirs_exist_ok=True)


def _link(source: str, target: str) -> None:
    """Put a file there without copying it: weights are large."""
    Path(target).unlink(missing_ok=True)
    os.link(source, target)
