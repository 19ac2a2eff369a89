"""The workspace's MLflow: a real tracking server, told about jobs, asked through Azure's paths.

Azure's run ids are the jobs' names and its experiment ids are GUIDs; MLflow makes ids of its own.
``Identities`` translates in both directions. The server is a child process that starts when
somebody first asks it something (5 s, 270 MB: more than the rest of the emulator), and again should
it have died. Until then the jobs' records and metrics files know all that it will be told.
"""

import asyncio
import json
import logging
import math
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx

from emulator.job_records import ENDED, Jobs, Record, Rows, metrics_file
from emulator.processes import Processes, Running

log = logging.getLogger(__name__)

PROGRAM = Path(__file__).with_name("tracking_program.py")
RUN_KIND = "tracking_run"
EXPERIMENT_KIND = "tracking_experiment"
START_WITHIN_S = 120.0
BATCH = 1000  # metrics in one request; MLflow takes no more
RUN_KEYS = ("run_id", "run_uuid", "run_ids", "source_run_id")
EXPERIMENT_KEYS = ("experiment_id", "experiment_ids")
RUN_FILTER = re.compile(r"((?:attributes?\.)?run_id\s*=\s*)(['\"])([^'\"]+)\2")

STATUSES = {"Completed": "FINISHED", "Failed": "FAILED", "Canceled": "KILLED"}


class TrackingUnavailable(RuntimeError):
    """The MLflow server did not come up; its log says why."""

    def __init__(self, log_file: Path) -> None:
        super().__init__(log_file)
        self.log_file = log_file

    def __str__(self) -> str:
        return f"The MLflow server could not be started; see {self.log_file}."


class Identities:
    """Azure's ids and MLflow's. What is in neither table is the same on both sides."""

    def __init__(self, records: Rows) -> None:
        self._records = records
        self._inward: dict[str, dict[str, str]] = {RUN_KIND: {}, EXPERIMENT_KIND: {}}
        self._outward: dict[str, dict[str, str]] = {RUN_KIND: {}, EXPERIMENT_KIND: {}}
        for kind in (RUN_KIND, EXPERIMENT_KIND):
            for row in records.list(kind):
                self._remember(kind, row["azure"], row["mlflow"])

    def learn(self, kind: str, azure: str, mlflow: str, status: str | None = None) -> None:
        """Remember that the two are one; ``status`` is what MLflow was last told of a run."""
        self._records.put(kind, azure, {"azure": azure, "mlflow": mlflow, "status": status})
        self._remember(kind, azure, mlflow)

    def mlflow(self, kind: str, azure: str) -> str | None:
        return self._inward[kind].get(azure)

    def inward(self, value: Any) -> Any:
        """A request with MLflow's ids in the place of Azure's."""
        return self._translated(value, self._inward)

    def outward(self, value: Any) -> Any:
        """An answer with Azure's ids in the place of MLflow's."""
        return self._translated(value, self._outward)

    def _remember(self, kind: str, azure: str, mlflow: str) -> None:
        self._inward[kind][azure] = mlflow
        self._outward[kind][mlflow] = azure

    def _translated(self, value: Any, tables: dict[str, dict[str, str]], key: str = "") -> Any:
        if isinstance(value, dict):
            return {name: self._translated(inner, tables, name) for name, inner in value.items()}
        if isinstance(value, list):
            return [self._translated(inner, tables, key) for inner in value]
        if key == "filter" and isinstance(value, str):
            runs = tables[RUN_KIND]
            return RUN_FILTER.sub(lambda m: f"{m[1]}'{runs.get(m[3], m[3])}'", value)
        if key in RUN_KEYS:
            return tables[RUN_KIND].get(value, value)
        if key in EXPERIMENT_KEYS:
            return tables[EXPERIMENT_KIND].get(value, value)
        return value


class TrackingServer:
    """Keeps MLflow in step with the jobs' records and metrics files.

    ``touch`` only notes that a run has news; once the server is wanted, a worker in the background
    passes them on, and every question waits until it has: who asks after a job's end sees all of
    its metrics.
    """

    def __init__(self, folder: Path, jobs: Path, processes: Processes, rows: Rows) -> None:
        self.folder = folder
        self.identities = Identities(rows)
        self._rows = rows
        self._jobs = Jobs(rows)
        self._folder_of_jobs = jobs
        self._processes = processes
        self._running: Running | None = None
        self._client: httpx.AsyncClient | None = None
        self._starting = asyncio.Lock()
        self._news = {name: asyncio.Event() for name in self._unsaid()}
        self._passing_on: asyncio.Event | None = None
        self._wanted = False
        self._worker: asyncio.Task[None] | None = None
        self._sent: dict[str, tuple[str, int]] = {}

    # -- what the runner and the routes use

    def touch(self, name: str) -> None:
        """Note that the run has a new status or new metrics."""
        self._news.setdefault(name, asyncio.Event())
        if self._wanted:
            self._work()

    async def settled(self) -> None:
        """Wait until all that was noted so far has been passed on."""
        self._wanted = True
        self._work()
        waiting = list(self._news.values())
        if self._passing_on is not None:
            waiting.append(self._passing_on)
        for passed_on in waiting:
            await passed_on.wait()

    async def ask(
        self, method: str, path: str, *, query: list[tuple[str, str]], body: Any, artifacts: str
    ) -> tuple[int, Any]:
        """Ask MLflow (``path`` begins ``api/2.0/mlflow/``) in Azure's ids; status and answer.

        ``artifacts`` is the address, with ``{experiment}`` and ``{run}``, that runs show as theirs.
        Raises TrackingUnavailable.
        """
        await self.settled()
        client = await self._server()
        named = [(key, self.identities.inward({key: value})[key]) for key, value in query]
        answer = await client.request(
            method, f"/{path}", params=named, json=self.identities.inward(body)
        )
        if not answer.headers.get("content-type", "").startswith("application/json"):
            return answer.status_code, {"error_code": "ENDPOINT_NOT_FOUND", "message": answer.text}
        return answer.status_code, _with_artifacts(
            self.identities.outward(answer.json()), artifacts
        )

    async def close(self) -> None:
        if self._worker is not None:
            self._worker.cancel()
            await asyncio.gather(self._worker, return_exceptions=True)
        if self._client is not None:
            await self._client.aclose()
        if self._running is not None:
            await self._running.stop()

    # -- the server

    async def _server(self) -> httpx.AsyncClient:
        async with self._starting:
            if self._client is None or self._running is None or not self._running.running:
                self._client = await self._start()
            return self._client

    async def _start(self) -> httpx.AsyncClient:
        self.folder.mkdir(parents=True, exist_ok=True)
        port_file, log_file = self.folder / "port", self.folder / "server.log"
        port_file.unlink(missing_ok=True)
        argv = [sys.executable, str(PROGRAM), "--database", str(self.folder / "mlflow.db")]
        argv += ["--artifacts", str(self.folder / "artifacts"), "--port-file", str(port_file)]
        self._running = await self._processes.start(
            "mlflow", argv, cwd=self.folder, log=log_file, env={"OMP_NUM_THREADS": "1"}
        )
        port = await self._port(port_file, log_file)
        return httpx.AsyncClient(
            base_url=f"http://127.0.0.1:{port}", timeout=START_WITHIN_S, trust_env=False
        )

    async def _port(self, port_file: Path, log_file: Path) -> int:
        assert self._running is not None
        deadline = asyncio.get_running_loop().time() + START_WITHIN_S
        while not (port_file.exists() and port_file.read_text().endswith("\n")):
            if not self._running.running or asyncio.get_running_loop().time() > deadline:
                raise TrackingUnavailable(log_file)
            await asyncio.sleep(0.05)
        return int(port_file.read_text())

    # -- passing on

    def _unsaid(self) -> list[str]:
        """Runs whose status an earlier emulator on this state did not pass on."""
        said = {row["azure"]: row.get("status") for row in self._rows.list(RUN_KIND)}
        jobs = self._jobs.everything()
        return [job["name"] for job in jobs if said.get(job["name"]) != job["status"]]

    def _work(self) -> None:
        if self._news and (self._worker is None or self._worker.done()):
            self._worker = asyncio.create_task(self._pass_on(), name="tracking")

    async def _pass_on(self) -> None:
        while self._news:
            name, self._passing_on = next(iter(self._news.items()))
            del self._news[name]
            done = self._passing_on
            try:
                await self._bring_up_to_date(name)
            except (httpx.HTTPError, TrackingUnavailable) as problem:
                log.warning("news of %s did not reach MLflow: %s", name, problem)
            finally:
                self._passing_on = None
                done.set()

    async def _bring_up_to_date(self, name: str) -> None:
        record = self._jobs.get(name)
        if record is None:
            return
        run = self.identities.mlflow(RUN_KIND, name) or await self._create_run(record)
        status, lines = self._sent.get(name, ("", 0))
        metrics, lines = _new_metrics(metrics_file(self._folder_of_jobs, record), lines)
        for batch in _batches(metrics):
            await self._post("runs/log-batch", {"run_id": run, "metrics": batch})
        if record["status"] != status:
            await self._post("runs/update", _status_update(record, run))
            self.identities.learn(RUN_KIND, name, run, status=record["status"])
        self._sent[name] = (record["status"], lines)

    async def _create_run(self, record: Record) -> str:
        experiment = await self._experiment(record)
        tags = {
            "mlflow.runName": record["display_name"],
            "mlflow.rootRunId": record["root"],
            "mlflow.parentRunId": record["parent"],
            "mlflow.source.name": record["step"] or "pipeline",
            "mlflow.source.type": "JOB",
            "mlflow.user": "emulator",
            **{str(key): str(value) for key, value in record["tags"].items()},
        }
        body = {
            "experiment_id": experiment,
            "start_time": int(record["created"] * 1000),
            "run_name": record["display_name"],
            "tags": [{"key": key, "value": value} for key, value in tags.items() if value],
        }
        made = await self._post("runs/create", body)
        run = str(made["run"]["info"]["run_id"])
        self.identities.learn(RUN_KIND, record["name"], run)
        return run

    async def _experiment(self, record: Record) -> str:
        known = self.identities.mlflow(EXPERIMENT_KIND, record["experiment_id"])
        if known:
            return known
        client = await self._server()
        name = {"experiment_name": record["experiment"]}
        found = await client.get("/api/2.0/mlflow/experiments/get-by-name", params=name)
        if found.is_success:
            made = str(found.json()["experiment"]["experiment_id"])
        else:
            answer = await self._post("experiments/create", {"name": record["experiment"]})
            made = str(answer["experiment_id"])
        self.identities.learn(EXPERIMENT_KIND, record["experiment_id"], made)
        return made

    async def _post(self, path: str, body: Any) -> Any:
        client = await self._server()
        answer = await client.post(f"/api/2.0/mlflow/{path}", json=body)
        answer.raise_for_status()
        return answer.json()


def _status_update(record: Record, run: str) -> dict[str, Any]:
    update: dict[str, Any] = {"run_id": run, "status": STATUSES.get(record["status"], "RUNNING")}
    if record["status"] in ("NotStarted", "Queued"):
        update["status"] = "SCHEDULED"
    if record["status"] in ENDED and record["ended"]:
        update["end_time"] = int(record["ended"] * 1000)
    return update


def _new_metrics(path: Path, after: int) -> tuple[list[dict[str, Any]], int]:
    """The metrics in the lines from number ``after`` on, and how many whole lines there are."""
    if not path.exists():
        return [], after
    lines = path.read_text().split("\n")[:-1]  # the last piece is a line still being written
    metrics = [metric for line in lines[after:] for metric in _metrics(line)]
    return metrics, len(lines)


def _metrics(line: str) -> Iterator[dict[str, Any]]:
    """MLflow's metrics of one line; a line that is not what was agreed on is left out."""
    try:
        row = json.loads(line)
        for key, value in row["metrics"].items():
            stamp = int(float(row["time"]) * 1000)
            yield {
                "key": key,
                "value": _number(value),
                "step": int(row["step"]),
                "timestamp": stamp,
            }
    except (ValueError, KeyError, TypeError, AttributeError):
        log.warning("a metrics line that cannot be read was left out: %.200s", line)


def _number(value: Any) -> float | str:
    """A metric's value as protobuf's JSON has it: what is not finite is a word."""
    number = float(value)
    if math.isfinite(number):
        return number
    return "NaN" if math.isnan(number) else "Infinity" if number > 0 else "-Infinity"


def _batches(metrics: list[dict[str, Any]]) -> Iterator[list[dict[str, Any]]]:
    for start in range(0, len(metrics), BATCH):
        yield metrics[start : start + BATCH]


def _with_artifacts(answer: Any, template: str) -> Any:
    """The answer with every run's artifact address as Azure writes it."""
    if isinstance(answer, dict):
        if "artifact_uri" in answer and "run_id" in answer:
            address = template.format(experiment=answer["experiment_id"], run=answer["run_id"])
            answer = {**answer, "artifact_uri": address}
        return {key: _with_artifacts(value, template) for key, value in answer.items()}
    if isinstance(answer, list):
        return [_with_artifacts(value, template) for value in answer]
    return answer
