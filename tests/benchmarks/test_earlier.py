"""Earlier runs that are put into a database are whole: every id they name is there."""

import sqlite3
from contextlib import closing
from uuid import uuid4

from benchmarks.earlier import add_flow_runs, add_jobs_and_models
from emulator.services.jobs.records import Jobs
from emulator.store import Store

PREFECT = """
CREATE TABLE flow_run (id TEXT PRIMARY KEY, name TEXT, state_id TEXT, idempotency_key TEXT UNIQUE);
CREATE TABLE flow_run_state (id TEXT PRIMARY KEY, flow_run_id TEXT);
CREATE TABLE task_run (id TEXT PRIMARY KEY, flow_run_id TEXT, state_id TEXT, dynamic_key TEXT);
CREATE TABLE task_run_state (id TEXT PRIMARY KEY, task_run_id TEXT);
"""


def test_copies_of_a_flow_run_refer_to_one_another(tmp_path):
    file = tmp_path / "prefect.db"
    run, state, task, done = (str(uuid4()) for _ in range(4))
    with closing(sqlite3.connect(file)) as database, database:
        database.executescript(PREFECT)
        database.execute("INSERT INTO flow_run VALUES (?, 'real', ?, 'key')", (run, state))
        database.execute("INSERT INTO flow_run_state VALUES (?, ?)", (state, run))
        database.execute("INSERT INTO task_run VALUES (?, ?, ?, '0')", (task, run, done))
        database.execute("INSERT INTO task_run_state VALUES (?, ?)", (done, task))
    rows = add_flow_runs(file, run, 3)

    assert rows == {"flow_run": 4, "flow_run_state": 4, "task_run": 4, "task_run_state": 4}
    joined = (
        "SELECT count(*) FROM flow_run r JOIN flow_run_state s ON s.id = r.state_id "
        "AND s.flow_run_id = r.id JOIN task_run t ON t.flow_run_id = r.id "
        "JOIN task_run_state d ON d.id = t.state_id AND d.task_run_id = t.id"
    )
    with closing(sqlite3.connect(file)) as database:
        assert database.execute(joined).fetchone()[0] == 4


def test_copies_of_a_job_have_their_steps_and_models_their_versions(tmp_path):
    store = Store(tmp_path / "state.db")
    times = {"created": 9e9, "started": 9e9, "ended": 9e9, "status": "Completed"}
    store.put("job", "j", {"name": "j", "parent": None, "children": ["a"], **times})
    store.put("job_step", "a", {"name": "a", "parent": "j", "root": "j", **times})
    store.put("model", "m/1", {"name": "1", "id": "/workspaces/w/models/m/versions/1"})
    rows = add_jobs_and_models(tmp_path / "state.db", 2)

    assert rows == {"job": 3, "job_step": 3, "model": 3, "tracking_run": 4}
    jobs = Jobs(store)
    assert [len(jobs.steps(job)) for job in jobs.all()] == [1, 1, 1]
    assert {one["name"] for one in store.list("model", "m/")} == {"1", "00000000", "00000001"}
    store.close()
