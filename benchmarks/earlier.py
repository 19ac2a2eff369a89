"""Earlier runs, jobs and models, put straight into the two databases: thousands of them.

Copies of one real run, with ids and names of their own: in Prefect's SQLite database its flow run,
its states, its task runs and their last ones; in the emulator's store its job, the job's steps and
its registered model. Both programs must be stopped meanwhile: neither expects its file to change.
"""

from __future__ import annotations

import sqlite3
import uuid
from contextlib import closing
from pathlib import Path
from typing import Any

from emulator.services.jobs.records import Jobs
from emulator.store import Store

#: Prefect's tables, and which of their rows belong to a flow run. Of a task run's states only the
#: last: the others are as many again, and nobody asks for them. Logs and events are not copied.
TABLES = {
    "flow_run": "id = ?",
    "flow_run_state": "flow_run_id = ?",
    "task_run": "flow_run_id = ?",
    "task_run_state": "id IN (SELECT state_id FROM task_run WHERE flow_run_id = ?)",
}


def add_flow_runs(database: Path, flow_run: str, count: int) -> dict[str, int]:
    """Copy the flow run so many times; return how many rows each table has now.

    Prefect's rows refer to each other by ids: a copy's are made of the original's and the copy's
    number, so that they refer to one another as the original's do.
    """
    with closing(sqlite3.connect(database)) as connection, connection:
        connection.row_factory = sqlite3.Row
        connection.execute("PRAGMA foreign_keys = OFF")
        for table, mine in TABLES.items():
            query = f"SELECT * FROM {table} WHERE {mine}"
            rows = [dict(row) for row in connection.execute(query, (flow_run,)).fetchall()]
            names = rows[0].keys()
            into = ", ".join(f'"{name}"' for name in names), ", ".join(f":{name}" for name in names)
            copies = (_copy(table, row, number) for number in range(count) for row in rows)
            connection.executemany(f"INSERT INTO {table} ({into[0]}) VALUES ({into[1]})", copies)
        return {
            table: int(connection.execute(f"SELECT count(*) FROM {table}").fetchone()[0])
            for table in TABLES
        }


def _copy(table: str, row: dict[str, Any], number: int) -> dict[str, Any]:
    """Return the row as that of the copy of this number."""
    ids = ("id", "flow_run_id", "task_run_id", "state_id")
    changed = {name: _id(row[name], number) for name in ids if row.get(name)}
    if table == "flow_run" and row.get("idempotency_key"):
        changed["idempotency_key"] = f"{row['idempotency_key']}-{number}"
    if table == "task_run":
        changed["dynamic_key"] = f"{row['dynamic_key']}-{number}"
    return {**row, **changed}


def _id(text: str, number: int) -> str:
    return str(uuid.uuid5(uuid.UUID(text), str(number)))


def add_jobs_and_models(file: Path, count: int) -> dict[str, int]:
    """Copy the emulator's newest job, its steps and the newest model; return the rows by kind.

    The copies' runs count as told to the emulator's MLflow already: nobody asks for them.
    """
    with closing(Store(file)) as store:
        jobs, model = Jobs(store), store.list("model")[0]
        job = jobs.all()[0]
        steps = jobs.steps(job)
        for number in range(count):
            _put_job(store, job, steps, number)
            _put_model(store, model, number)
    with closing(sqlite3.connect(file)) as connection:
        return dict(connection.execute("SELECT kind, count(*) FROM resource GROUP BY kind"))


def _put_job(store: Store, job: dict[str, Any], steps: list[dict[str, Any]], number: int) -> None:
    name, jobs = f"{job['name']}-{number}", Jobs(store)
    copies = [
        {**step, "name": f"{step['name']}-{number}", "root": name, "parent": name} for step in steps
    ]
    copies.append({**job, "name": name, "root": name, "children": [x["name"] for x in copies]})
    for copy in copies:
        jobs.put(copy)
        run = uuid.uuid5(uuid.NAMESPACE_URL, copy["name"]).hex
        told = {"azure": copy["name"], "mlflow": run, "status": copy["status"]}
        store.put("tracking_run", copy["name"], told)


def _put_model(store: Store, model: dict[str, Any], number: int) -> None:
    version = f"{number:08}"
    container = str(model["id"]).rpartition("/")[0]
    name = container.split("/models/")[1].split("/")[0].lower()
    store.put(
        "model", f"{name}/{version}", {**model, "name": version, "id": f"{container}/{version}"}
    )
