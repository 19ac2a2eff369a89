"""Small step programs and a runner around them, for tests that need no training."""

import time
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from emulator.catalogue import load_catalogue
from emulator.clock import ScaledClock
from emulator.faults import Faults
from emulator.latency import Profile
from emulator.processes.children import Processes
from emulator.services.assets.addresses import Locations, is_published
from emulator.services.assets.versions import Assets
from emulator.services.compute.nodes import Nodes
from emulator.services.jobs.base_weights import BaseWeights
from emulator.services.jobs.command_jobs import CommandJobs
from emulator.services.jobs.command_runs import CommandRuns
from emulator.services.jobs.events import Webhook
from emulator.services.jobs.fine_tunes import FineTunes
from emulator.services.jobs.programs import Programs
from emulator.services.jobs.records import Jobs
from emulator.services.jobs.runner import Runner
from emulator.services.jobs.runs import Runs
from emulator.services.jobs.sources import Sources
from emulator.services.jobs.steps import STEPS
from emulator.services.jobs.submission import submission
from emulator.services.storage.blobs import Storage
from emulator.store import Store
from tests.emulator.support.waiting import reached

WORKSPACE = (
    "/subscriptions/s/resourceGroups/g/providers/Microsoft.MachineLearningServices/workspaces/w"
)
COMPONENT = {
    "name": "chat_completion_pipeline",
    "inputs": {
        "mlflow_model_path": {"type": "mlflow_model", "optional": "true"},
        "train_file_path": {"type": "uri_file", "optional": "true"},
        "learning_rate": {"type": "number", "optional": "true", "default": "2e-05"},
        "num_train_epochs": {"type": "integer", "optional": "true", "default": "1"},
        "per_device_train_batch_size": {"type": "integer", "optional": "true", "default": "1"},
        "compute_model_import": {"type": "string", "optional": "true", "default": "serverless"},
        "compute_preprocess": {"type": "string", "optional": "true", "default": "serverless"},
        "resume_from_checkpoint": {"type": "boolean", "optional": "true", "default": "false"},
        "compute_finetune": {"type": "string", "optional": "true", "default": "serverless"},
    },
}

STEP_PROGRAM = """
import argparse, json, pathlib, sys, time
parser = argparse.ArgumentParser()
parser.add_argument("--spec"); parser.add_argument("--out")
given = parser.parse_args()
spec = json.loads(pathlib.Path(given.spec).read_text())
name, output = pathlib.Path(__file__).stem, {output!r}
control = pathlib.Path(__file__).parent
print(name, "runs with", sorted(spec["paths"]))
out = pathlib.Path(given.out)
if name == "finetune":
    with (out / "metrics.jsonl").open("w") as file:
        for step in range(3):
            metrics = {{"loss": 3.0 - step, "epoch": step}}
            row = {{"step": step, "time": time.time(), "metrics": metrics}}
            file.write(json.dumps(row) + "\\n")
(control / (name + ".started")).touch()
while (control / (name + ".hold")).exists():
    time.sleep(0.02)
if (control / (name + ".fail")).exists():
    sys.exit((control / (name + ".fail")).read_text())
if output:
    (out / output).mkdir(exist_ok=True)
    (out / output / "made_by.txt").write_text(name)
    (out / output / "spec.json").write_text(json.dumps(spec))
"""

WEIGHTS_PROGRAM = """
import pathlib, sys
folder = pathlib.Path(sys.argv[-1]) / "weights"
folder.mkdir(parents=True, exist_ok=True)
print("making weights")
print(folder)
"""


@dataclass
class Touched:
    """Remembers which runs had news; the real tracking server has tests of its own."""

    names: list[str] = field(default_factory=list)

    def touch(self, name: str) -> None:
        self.names.append(name)


@dataclass
class Bench:
    """A runner on a temporary folder, and the switches of its step programs."""

    root: Path
    store: Store
    runner: Runner
    faults: Faults
    clusters: dict[str, dict[str, Any]]

    def hold(self, program: str) -> Path:
        path = self.runner.fine_tunes.workloads / f"{program}.hold"
        path.touch()
        return path

    def fail(self, program: str, words: str) -> None:
        (self.runner.fine_tunes.workloads / f"{program}.fail").write_text(words)

    def started(self, program: str) -> bool:
        return (self.runner.fine_tunes.workloads / f"{program}.started").exists()

    def put(self, name: str = "j", **inputs: Any) -> None:
        made = submission(WORKSPACE, name, body(**inputs), COMPONENT, self.clusters, time.time())
        for record in (*made.steps, made.job):
            self.runner.runs.jobs.put(record)

    def job(self, name: str = "j") -> dict[str, Any]:
        record = self.runner.runs.jobs.get(name)
        assert record is not None
        return record

    def steps(self, name: str = "j") -> list[str]:
        return [child["status"] for child in self.runner.runs.children(name)]

    async def ended(self, name: str = "j") -> dict[str, Any]:
        await reached(
            lambda: self.job(name)["status"] in ("Completed", "Failed", "Canceled"),
            f"{name} has ended",
        )
        return self.job(name)


def body(**inputs: Any) -> dict[str, Any]:
    """A pipeline job's properties as the SDK sends them."""
    given = {
        name: {"uri": value, "job_input_type": "uri_file"}
        if str(value).startswith("azureml:")
        else {"value": str(value), "job_input_type": "literal"}
        for name, value in inputs.items()
    }
    node = {
        "name": "step",
        "type": "pipeline",
        "componentId": "azureml://registries/azureml/components/chat_completion_pipeline/versions/1",
        "inputs": given,
        "outputs": {
            "mlflow_model_folder": {"value": "${{parent.outputs.trained_model}}", "type": "literal"}
        },
    }
    return {
        "jobType": "Pipeline",
        "experimentName": "exp",
        "displayName": "a display name",
        "tags": {"k": "v"},
        "jobs": {"step": node},
        "outputs": {"trained_model": {"jobOutputType": "mlflow_model"}},
        "settings": {"force_rerun": True},
    }


def write_programs(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for step in STEPS:
        (folder / step.program).write_text(STEP_PROGRAM.format(output=step.output))
    (folder / "base_weights.py").write_text(WEIGHTS_PROGRAM)


@asynccontextmanager
async def bench(root: Path, webhook: str | None = None) -> Any:
    """A runner with stand-in programs; everything it started is gone afterwards."""
    workloads = root / "workloads"
    write_programs(workloads)
    store = Store(root / "state.db")
    processes = Processes(root / "processes")
    storage = Storage(root / "blobs", store)
    clusters: dict[str, dict[str, Any]] = {}
    clock, faults = ScaledClock(0), Faults()

    async def start_node(compute: str) -> None:
        await clock.sleep(0)

    def limit(compute: str) -> int:
        scale = clusters[compute]["properties"]["properties"]["scaleSettings"]
        return int(scale["maxNodeCount"])

    assets = Assets(store)
    locations = Locations(storage, assets, "core.test")
    runs = Runs(
        root / "jobs", Jobs(store), clock, Touched(), Webhook(webhook, clock.sleep), storage,
        "westeurope",
    )  # fmt: skip
    programs = Programs(runs, Nodes(limit, start_node), faults)
    weights = BaseWeights(
        "tiny", root / "cache", workloads / "base_weights.py", processes, root / "w.log"
    )
    sources = Sources(locations, partial(is_published, load_catalogue()), weights)
    commands = CommandRuns(assets, storage, locations, processes, lambda _: {})
    runner = Runner(
        runs,
        Profile("fast"),
        FineTunes(runs, programs, sources, processes, workloads),
        CommandJobs(runs, programs, sources, commands),
    )
    try:
        yield Bench(root, store, runner, faults, clusters)
    finally:
        await runner.close()
        await processes.stop_all()
        await runner.runs.webhook.close()
