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
        outputs = {output: records.output_uri(name, output) for output in record["bound_outputs"]}
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
        document = folder / "spec.json"
        document.write_text(json.dumps(spec(plan.parameters, plan.paths, plan.outputs), indent=1))
        argv = self._argv(step, document, folder)
        running = await self.processes.start(
            f"{child['root']}/{step.name}", argv, cwd=folder, log=self.runs.log_path(child)
        )
        try:
            preempted = await self.programs.watch(running, child)
        finally:
            await running.stop()
        return None if preempted else await running.wait()

    def _argv(self, step: Step, document: Path, folder: Path) -> list[str]:
        fault = self.programs.faults.take("step_fails", step.name)
        if fault:  # a program of its own, so that the status still comes from an exit code
            said = str(fault.get("message") or f"Step {step.name} was told to fail.")
            return [sys.executable, "-c", "import sys; sys.exit(sys.argv[1])", said]
        program = self.workloads / step.program
        return [sys.executable, str(program), "--spec", str(document), "--out", str(folder)]

    def _publish(self, record: Record, plan: Plan) -> None:
        """Put the job's outputs where the workspace's datastore shows them."""
        for output, inner in record["bound_outputs"].items():
            source = plan.outputs.get(inner)
            if source is None or not source.is_dir():
                raise FileNotFoundError(f"no step made the output {inner}")
            place = f"azureml/{record['name']}/{output}"
            target = self.runs.storage.path(records.OUTPUTS, place)
            shutil.rmtree(target, ignore_errors=True)
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copytree(source, target, copy_function=os.link)  # weights are large
