"""Many clients at once on a full workspace: the emulator's requests a second, and their times.

Each client has a connection of its own over TLS and asks one thing after another: versions and jobs
by name, pages of both lists, and every tenth time it writes. The clients are one process beside the
emulator's, and as small as can be: what they take is taken from it.
"""

from __future__ import annotations

import asyncio
import json
import random
import ssl
import time
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from pathlib import Path
from statistics import quantiles
from typing import Any

from benchmarks.report import Figure, main
from benchmarks.stage import emulator_alone, folder_of
from emulator.configuration import Configuration, load_identity
from emulator.protocol import tokens
from emulator.protocol.resources import system_data
from emulator.services.assets.versions import Assets
from emulator.services.jobs.records import Jobs, pipeline_record
from emulator.store import Store

#: Of a hundred requests: reads of a version and of a job, pages of both lists, writes.
SHARES = {"model": 40, "job": 30, "models": 10, "jobs": 10, "write": 10}
AT_MOST_MS = 60.0
MODELS, JOBS = "2023-08-01-preview", "2024-01-01-preview"


@dataclass
class Bench:
    """Where to ask, and what has been seen: milliseconds by kind of request, statuses."""

    config: Configuration
    authority: Path
    rows: int
    took: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    statuses: Counter[int] = field(default_factory=Counter)

    def request(self, kind: str) -> bytes:
        """One request of this kind, of a row by chance."""
        number = random.randrange(self.rows)
        if kind in ("job", "jobs"):
            path = f"jobs/job-{number}" if kind == "job" else "jobs"
            return self._bytes("GET", path, JOBS)
        if kind == "models":
            return self._bytes("GET", "models", MODELS)
        path = f"models/model-{number}/versions/1"
        if kind == "model":
            return self._bytes("GET", path, MODELS)
        told = {"properties": {**model(self.config, number), "description": str(time.time())}}
        return self._bytes("PUT", path, MODELS, json.dumps(told).encode())

    def _bytes(self, method: str, path: str, version: str, body: bytes = b"") -> bytes:
        config = self.config
        token = tokens.issue(config, f"https://{config.management_host}", time.time())
        head = [
            f"{method} {config.workspace_id}/{path}?api-version={version} HTTP/1.1",
            f"Host: {config.management_host}",
            f"Authorization: Bearer {token}",
            "Content-Type: application/json",
            f"Content-Length: {len(body)}",
        ]
        return "\r\n".join([*head, "", ""]).encode() + body


def model(config: Configuration, number: int) -> dict[str, Any]:
    """The properties of a registered model as the workspace answers them."""
    _, _, subscription, _, group, *_, workspace = config.workspace_id.split("/")
    place = f"azureml://subscriptions/{subscription}/resourcegroups/{group}/workspaces/{workspace}"
    uri = f"{place}/datastores/workspaceblobstore/paths/models/model-{number}"
    tags = {"team": "chat", "number": str(number)}
    return {"flavors": {}, "modelUri": uri, "modelType": "mlflow_model", "tags": tags}


def fill(config: Configuration, rows: int) -> None:
    """Write so many models and jobs into the state of an emulator that does not run."""
    store, now = Store(config.state / "state.db"), time.time()
    assets, jobs = Assets(store), Jobs(store)
    for number in range(rows):
        name, place = f"model-{number}", f"{config.workspace_id}/models/model-{number}"
        body = {
            "id": f"{place}/versions/1",
            "name": "1",
            "type": "Microsoft.MachineLearningServices/workspaces/models/versions",
            "properties": {**model(config, number), "provisioningState": "Succeeded"},
            "systemData": system_data(now),
        }
        assets.put("models", name, "1", body)
        asked = {"jobType": "Pipeline", "experimentName": "many", "jobs": {}, "tags": {}}
        record = pipeline_record(config.workspace_id, f"job-{number}", asked, now)
        jobs.put({**record, "status": "Completed", "children": [], "addresses": {}})
    store.close()


def measure(clients: int, seconds: int, rows: int) -> tuple[list[Figure], dict[str, Any]]:
    """Ask for so many seconds with so many clients."""
    with folder_of("clients") as folder:
        state = folder / "emulator"
        fill(Configuration(state, state / "cache", load_identity(state)), rows)
        with emulator_alone(folder) as here:
            config = Configuration(state, state / "cache", load_identity(state))
            bench = Bench(config, Path(here.env["SSL_CERT_FILE"]), rows)
            asyncio.run(_ask(bench, clients, seconds))
    return _figures(bench, clients, seconds), {"statuses": dict(bench.statuses)}


def _figures(bench: Bench, clients: int, seconds: int) -> list[Figure]:
    every = [one for times in bench.took.values() for one in times]
    failed = sum(count for status, count in bench.statuses.items() if status >= 400)
    figures = [
        Figure(f"{clients} clients, {bench.rows} models and jobs", len(every) / seconds, "req/s"),
        Figure("p50", quantiles(every, n=100)[49], "ms"),
        Figure("p99", quantiles(every, n=100)[98], "ms", AT_MOST_MS),
        Figure("answers that are errors", failed, "", 0.0),
    ]
    for kind, times in sorted(bench.took.items()):
        figures.append(Figure(f"p99 of {kind}", quantiles(times, n=100)[98], "ms"))
    return figures


async def _ask(bench: Bench, clients: int, seconds: int) -> None:
    end = time.monotonic() + seconds
    async with asyncio.TaskGroup() as group:
        for _ in range(clients):
            group.create_task(_client(bench, end))


async def _client(bench: Bench, end: float) -> None:
    """Ask one thing after another until the time is over."""
    context = ssl.create_default_context(cafile=str(bench.authority))
    host, port = bench.config.management_host, bench.config.identity.tls_port
    reader, writer = await asyncio.open_connection(
        "127.0.0.1", port, ssl=context, server_hostname=host
    )
    kinds, weights = list(SHARES), list(SHARES.values())
    while time.monotonic() < end:
        (kind,) = random.choices(kinds, weights)
        asked = bench.request(kind)
        began = time.perf_counter()
        writer.write(asked)
        status = await _answer(reader)
        bench.took[kind].append(1000 * (time.perf_counter() - began))
        bench.statuses[status] += 1
    writer.close()
    await writer.wait_closed()


async def _answer(reader: asyncio.StreamReader) -> int:
    """Read one answer to its end; its status."""
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
    headers = dict(line.lower().split(": ", 1) for line in head[1:] if line)
    await reader.readexactly(int(headers["content-length"]))
    return int(head[0].split()[1])


if __name__ == "__main__":
    main(
        "clients", measure, __doc__,
        clients=(50, "clients at once"),
        seconds=(20, "seconds that they ask"),
        rows=(10_000, "models, and as many jobs"),
    )  # fmt: skip
