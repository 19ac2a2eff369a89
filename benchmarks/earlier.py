"""Earlier runs, jobs and models, put straight into the two databases: thousands of them.

Copies of one real run, with ids and names of their own: in Prefect's SQLite database its flow run,
its states, its task runs and their last ones; in the emulator's store its job, the job's steps and
its registered model. Both programs must be stopped meanwhile: neither expects its file to change.
"""

from __future__ import annotations

import json
import sqlite3
import uuid
from contextlib import closing
from pathlib import Path
from typing import Any

HOUR = 3600.0
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
            found = connection.execute(f"SELECT * FROM {table} WHERE {mine}", (flow_run,))
            rows = [dict(row) for row in found.fetchall()]
            for number in range(count):
                _insert(connection, table, [_copy(table, row, number) for row in rows])
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


def _insert(connection: sqlite3.Connection, table: str, rows: list[dict[str, Any]]) -> None:
    if rows:
        names = ", ".join(f'"{name}"' for name in rows[0])
        places = ", ".join("?" * len(rows[0]))
        values = [tuple(row.values()) for row in rows]
        connection.executemany(f"INSERT INTO {table} ({names}) VALUES ({places})", values)


def add_jobs_and_models(store: Path, count: int) -> dict[str, int]:
    """Copy the emulator's newest job, its steps and the newest model; return the rows by kind.

    The copies' runs count as told to the emulator's MLflow already: no one asks for them.
    """
    with closing(sqlite3.connect(store)) as connection, connection:
        job, model = (_newest(connection, kind) for kind in ("job", "model"))
        steps = [_body(connection, "job_step", name) for name in job["children"]]
        for number in range(count):
            _put_job(connection, job, steps, number)
            _put_model(connection, model, number)
        found = connection.execute("SELECT kind, count(*) FROM resource GROUP BY kind").fetchall()
        return {str(kind): int(rows) for kind, rows in found}


def _put_job(
    connection: sqlite3.Connection,
    job: dict[str, Any],
    steps: list[dict[str, Any]],
    number: int,
) -> None:
    name = f"{job['name']}-{number}"
    times = {one: job[one] - HOUR for one in ("created", "started", "ended")}
    children = [f"{step['name']}-{number}" for step in steps]
    copy = {**job, **times, "name": name, "root": name, "children": children}
    _put(connection, "job", name, copy)
    _told(connection, name, job["status"])
    for child, step in zip(children, steps, strict=True):
        own = {"name": child, "root": name, "parent": name}
        _put(connection, "job_step", child, {**step, **times, **own})
        _told(connection, child, step["status"])


def _told(connection: sqlite3.Connection, name: str, status: str) -> None:
    row = {"azure": name, "mlflow": uuid.uuid5(uuid.NAMESPACE_URL, name).hex, "status": status}
    _put(connection, "tracking_run", name, row)


def _put_model(connection: sqlite3.Connection, model: dict[str, Any], number: int) -> None:
    version = f"{number:08}"
    body = {**model, "name": version, "id": f"{model['id'].rpartition('/')[0]}/{version}"}
    name = str(model["id"]).split("/models/")[1].split("/")[0].lower()
    _put(connection, "model", f"{name}/{version}", body)


def _put(connection: sqlite3.Connection, kind: str, key: str, body: dict[str, Any]) -> None:
    connection.execute(
        "INSERT INTO resource (kind, key, body) VALUES (?, ?, ?)", (kind, key, json.dumps(body))
    )


def _newest(connection: sqlite3.Connection, kind: str) -> dict[str, Any]:
    row = connection.execute(
        "SELECT body FROM resource WHERE kind = ? ORDER BY seq DESC LIMIT 1", (kind,)
    ).fetchone()
    return dict(json.loads(row[0]))


def _body(connection: sqlite3.Connection, kind: str, key: str) -> dict[str, Any]:
    row = connection.execute(
        "SELECT body FROM resource WHERE kind = ? AND key = ?", (kind, key)
    ).fetchone()
    return dict(json.loads(row[0]))
