"""Logs as JSON lines: each names the run, the task, the job and the endpoint."""

from __future__ import annotations

import json

from deployments.json_lines import JSON_LOGS
from finetuning.form.run import FineTune
from tests.conftest import run_python
from tests.support.prefect_servers import Server
from tests.support.runs import names

PROGRAM = """
from prefect import flow, get_run_logger, task

@task
def step():
    get_run_logger().info("in a task, %s", "with a value")

@flow(name="fine-tune")
def logged(run: dict):
    step()
    get_run_logger().error("it broke", exc_info=ValueError("with this"))

logged(run={"key": "a-key"})
"""


def test_every_line_carries_the_ids_of_the_run(server: Server) -> None:
    done = run_python({**server.env, **JSON_LOGS}, "-c", PROGRAM, seconds=120)
    assert done.returncode == 0, done.stderr

    lines = [json.loads(line) for line in (done.stdout + done.stderr).splitlines() if line]
    in_task = next(one for one in lines if one["message"] == "in a task, with a value")
    broke = next(one for one in lines if one["message"] == "it broke")
    job, endpoint = names(FineTune(key="a-key"))
    assert in_task["job"] == job
    assert in_task["endpoint"] == endpoint
    assert in_task["flow_run_id"] == broke["flow_run_id"]
    assert in_task["task_run_name"].startswith("step-")
    assert "ValueError: with this" in broke["exception"]
