"""The real MLflow server, told about jobs and asked in Azure's ids."""

import asyncio
import json
from collections.abc import Awaitable, Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest

from emulator.processes.children import Processes
from emulator.services.jobs.records import Jobs, Record, metrics_file, pipeline_record, step_record
from emulator.services.tracking.server import TrackingServer
from emulator.store import Store

WORKSPACE = "/subscriptions/s/resourceGroups/g/providers/X/workspaces/w"
ARTIFACTS = "azureml://host/experiments/{experiment}/runs/{run}/artifacts"

Ask = Callable[..., Awaitable[Any]]


def run(work: Coroutine[Any, Any, Any]) -> Any:
    return asyncio.run(asyncio.wait_for(work, 150))


def a_job(store: Store, name: str, experiment: str = "exp") -> tuple[Record, Record]:
    job = pipeline_record(WORKSPACE, name, {"experimentName": experiment}, 1000.0)
    step = step_record(job, "chat_completion_finetune", 3, "serverless", 1000.0)
    for record in (job, step):
        Jobs(store).put(record)
    return job, step


def write_metrics(jobs: Path, step: Record, *rows: Any) -> None:
    path = metrics_file(jobs, step)
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a") as file:
        for row in rows:
            file.write((row if isinstance(row, str) else json.dumps(row)) + "\n")


def row(step: int, **metrics: float) -> dict[str, Any]:
    return {"step": step, "time": 1000 + step, "metrics": metrics}


def with_server(root: Path, work: Callable[[TrackingServer, Store, Ask], Awaitable[None]]) -> None:
    async def whole() -> None:
        processes, store = Processes(root / "p"), Store(root / "state.db")
        server = TrackingServer(root / "mlflow", root / "jobs", processes, store)

        async def ask(method: str, path: str, body: Any = None, **query: str) -> Any:
            status, answer = await server.ask(
                method,
                f"api/2.0/mlflow/{path}",
                query=list(query.items()),
                body=body,
                artifacts=ARTIFACTS,
            )
            assert status == 200, answer
            return answer

        try:
            await work(server, store, ask)
        finally:
            await server.close()
            await processes.stop_all()
        assert processes.alive() == []

    run(whole())


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("tracking")


def test_runs_are_found_by_their_root_and_have_azures_ids_and_the_files_metrics(root):
    async def work(server: TrackingServer, store: Store, ask: Ask) -> None:
        job, step = a_job(store, "job-1")
        other, _ = a_job(store, "job-2")
        write_metrics(root / "jobs", step, row(1, loss=3.5, epoch=0.5), row(2, loss=2.5, epoch=1))
        for record in (job, step, other):
            server.touch(record["name"])
        assert server._running is None, "nobody has asked yet"

        found = await ask("GET", "experiments/get-by-name", experiment_name="exp")
        experiment = found["experiment"]["experiment_id"]
        assert experiment == job["experiment_id"]
        query = {
            "experiment_ids": [experiment],
            "filter": "tags.mlflow.rootRunId='job-1'",
        }
        runs = (await ask("POST", "runs/search", query))["runs"]
        assert {r["info"]["run_id"] for r in runs} == {"job-1", step["name"]}
        child = next(r for r in runs if r["info"]["run_id"] == step["name"])
        tags = {tag["key"]: tag["value"] for tag in child["data"]["tags"]}
        assert tags["mlflow.parentRunId"] == "job-1"
        assert tags["mlflow.runName"] == "chat_completion_finetune"
        assert child["info"]["artifact_uri"] == (
            f"azureml://host/experiments/{experiment}/runs/{step['name']}/artifacts"
        )

        history = await ask("GET", "metrics/get-history", run_id=step["name"], metric_key="loss")
        points = [(point["step"], point["value"]) for point in history["metrics"]]
        assert sorted(points) == [(1, 3.5), (2, 2.5)]

        assert server._running is not None
        await server._running.stop()
        again = await ask("GET", "experiments/get-by-name", experiment_name="exp")
        assert again == found, "a server that died is started again"

    with_server(root, work)


def test_what_an_earlier_emulator_did_not_pass_on_is_passed_on_by_the_next(root):
    store = Store(root / "state.db")
    _, step = a_job(store, "job-3")
    bad = "this is no JSON"
    write_metrics(root / "jobs", step, row(1, loss=float("nan")), bad, row(2, loss=1.25))
    step["status"], step["ended"] = "Completed", 1010.0
    Jobs(store).put(step)

    async def work(server: TrackingServer, store: Store, ask: Ask) -> None:
        found = (await ask("GET", "runs/get", run_id=step["name"]))["run"]
        assert found["info"]["status"] == "FINISHED"
        assert found["info"]["end_time"] == 1010000
        history = await ask("GET", "metrics/get-history", run_id=step["name"], metric_key="loss")
        values = {str(point["step"]): str(point["value"]) for point in history["metrics"]}
        assert values == {"1": "NaN", "2": "1.25"}

        write_metrics(root / "jobs", step, row(3, loss=1.0))
        server.touch(step["name"])
        history = await ask("GET", "metrics/get-history", run_id=step["name"], metric_key="loss")
        assert len(history["metrics"]) == 3
        query = {
            "experiment_ids": [step["experiment_id"]],
            "filter": f"attributes.run_id = '{step['name']}'",
        }
        assert len((await ask("POST", "runs/search", query))["runs"]) == 1

    with_server(root, work)
