"""The workspace's MLflow: a real tracking server, told about jobs, asked through Azure's paths.

Azure's run ids are the jobs' names and its experiment ids are GUIDs; MLflow makes ids of its own.
``Identities`` translates in both directions. The server is a child process that starts when
somebody first asks it something (5 s, 270 MB: more than the rest of the emulator), and again should
it have died. What a question concerns is passed on before it is asked, and nothing else: the jobs'
records and metrics files know all that MLflow will be told, and most of it nobody ever asks for.
"""

import asyncio
import json
import logging
import math
import re
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from emulator.processes.children import Processes, Running
from emulator.services.jobs.records import ENDED, Jobs, Record, metrics_file
from emulator.services.tracking.identities import (
    EXPERIMENT_KIND,
    RUN_KEYS,
    RUN_KIND,
    Identities,
)
from emulator.store import Store

log = logging.getLogger(__name__)

PROGRAM = Path(__file__).with_name("program.py")
START_WITHIN_S = 120.0
BATCH = 1000  # metrics in one request; MLflow takes no more
NAMED_RUNS = re.compile(r"(?:rootRunId|parentRunId|run_id)[`\"]?\s*=\s*['\"]([^'\"]+)['\"]")

STATUSES = {"Completed": "FINISHED", "Failed": "FAILED", "Canceled": "KILLED"}


class TrackingUnavailable(RuntimeError):
    """The MLflow server did not come up; its log says why."""

    def __init__(self, log_file: Path) -> None:
        super().__init__(log_file)
        self.log_file = log_file

    def __str__(self) -> str:
        return f"The MLflow server could not be started; see {self.log_file}."


@dataclass(frozen=True)
class News:
    """A run that has something MLflow was not told yet."""

    name: str
    root: str
    experiment: str
    experiment_id: str


class TrackingServer:
    """Keeps MLflow in step with the jobs' records and metrics files, as far as it is asked.

    ``touch`` only notes that a run has news; a question first passes on the news that it concerns,
    so that who asks after a job's end sees all of its metrics.
    """

    def __init__(self, folder: Path, jobs: Path, processes: Processes, store: Store) -> None:
        self.folder = folder
        self.identities = Identities(store)
        self._store = store
        self._jobs = Jobs(store)
        self._folder_of_jobs = jobs
        self._processes = processes
        self._running: Running | None = None
        self._client: httpx.AsyncClient | None = None
        self._starting = asyncio.Lock()
        self._passing_on = asyncio.Lock()
        self._news = {record["name"]: _news(record) for record in self._unsaid()}
        self._sent: dict[str, tuple[str, int]] = {}

    # -- what the runner and the routes use

    def touch(self, name: str) -> None:
        """Note that the run has a new status or new metrics."""
        record = self._jobs.get(name)
        if record is not None:
            self._news[name] = _news(record)

    async def ask(
        self, method: str, path: str, *, query: list[tuple[str, str]], body: Any, artifacts: str
    ) -> tuple[int, Any]:
        """Ask MLflow (``path`` begins ``api/2.0/mlflow/``) in Azure's ids; status and answer.

        ``artifacts`` is the address, with ``{experiment}`` and ``{run}``, that runs show as theirs.
        Raises TrackingUnavailable, or httpx.TransportError: it died while it was asked.
        """
        await self._pass_on(_concerned(path, query, body), path)
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

    def _unsaid(self) -> list[Record]:
        """Runs whose status an earlier emulator on this state did not pass on."""
        said = {row["azure"]: row.get("status") for row in self._store.list(RUN_KIND)}
        return [
            record
            for record in self._jobs.everything()
            if said.get(record["name"]) != record["status"]
        ]

    async def _pass_on(self, concerns: Callable[[News], bool], path: str) -> None:
        async with self._passing_on:
            if "/experiments/" in path:
                for news in {news.experiment_id: news for news in self._news.values()}.values():
                    await self._experiment(news.experiment_id, news.experiment)
            for news in [news for news in self._news.values() if concerns(news)]:
                del self._news[news.name]
                try:
                    await self._bring_up_to_date(news)
                except httpx.HTTPStatusError as problem:  # asking again would not help
                    log.warning("MLflow did not take the news of %s: %s", news.name, problem)
                except httpx.TransportError:
                    self._news.setdefault(news.name, news)
                    raise

    async def _bring_up_to_date(self, news: News) -> None:
        name, record = news.name, self._jobs.get(news.name)
        if record is None:  # deleted since
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
        experiment = await self._experiment(record["experiment_id"], record["experiment"])
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

    async def _experiment(self, azure: str, name: str) -> str:
        """MLflow's id of an experiment; it is made if MLflow does not have it."""
        known = self.identities.mlflow(EXPERIMENT_KIND, azure)
        if known:
            return known
        client = await self._server()
        path = "/api/2.0/mlflow/experiments/get-by-name"
        answer = await client.get(path, params={"experiment_name": name})
        if answer.is_success:
            made = str(answer.json()["experiment"]["experiment_id"])
        else:
            made = str((await self._post("experiments/create", {"name": name}))["experiment_id"])
        self.identities.learn(EXPERIMENT_KIND, azure, made)
        return made

    async def _post(self, path: str, body: Any) -> Any:
        client = await self._server()
        answer = await client.post(f"/api/2.0/mlflow/{path}", json=body)
        answer.raise_for_status()
        return answer.json()


def _news(record: Record) -> News:
    return News(record["name"], record["root"], record["experiment"], record["experiment_id"])


def _concerned(path: str, query: list[tuple[str, str]], body: Any) -> Callable[[News], bool]:
    """Which runs' news can change the answer: those it names, or those of its experiments."""
    asked = body if isinstance(body, dict) else {}
    runs = {value for key, value in query if key in RUN_KEYS}
    runs |= {str(asked[key]) for key in ("run_id", "run_uuid") if asked.get(key)}
    runs |= {str(run) for run in asked.get("run_ids") or []}
    runs |= set(NAMED_RUNS.findall(str(asked.get("filter") or "")))
    if runs:
        return lambda news: news.name in runs or news.root in runs
    if "/experiments/" in path:
        return lambda _: False
    experiments = {str(experiment) for experiment in asked.get("experiment_ids") or []}
    return lambda news: not experiments or news.experiment_id in experiments


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
