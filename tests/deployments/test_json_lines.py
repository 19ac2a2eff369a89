"""Logs as JSON lines: each names the run, the task, the job and the endpoint."""

from __future__ import annotations

import json
import logging
from typing import Any

import pytest

from deployments.json_lines import JSON_LOGS, JsonLines
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


def line(message: Any, *arguments: Any, **extra: Any) -> dict[str, Any]:
    record = logging.LogRecord("a.b", logging.ERROR, "file", 1, message, arguments, None)
    record.__dict__.update(extra)
    return dict(json.loads(JsonLines("default", None, "%").format(record)))


@pytest.mark.parametrize(
    ("message", "arguments", "text"),
    [("100 %", (), "100 %"), ("ä %s", (3,), "ä 3"), ({"a": 1}, (), "{'a': 1}"), ("", (), "")],
)
def test_a_line_outside_a_run_has_time_level_logger_and_message(
    message: Any, arguments: tuple[Any, ...], text: str
) -> None:
    found = line(message, *arguments, send_to_api=False, flow_name="")

    assert found.pop("time").endswith("+00:00")
    assert found == {"level": "ERROR", "logger": "a.b", "message": text}


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
