"""``fine-tune`` against a real server: triggered, followed, looked at, reported, cancelled."""

from __future__ import annotations

import json
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import pytest

from tests.conftest import run_python
from tests.deployments.conftest import Stack
from tests.support.runs import endless, small
from tests.support.waiting import until

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def told(served: Stack) -> object:
    served.emulator.clear_faults()

    def tell(*argv: str) -> subprocess.CompletedProcess[str]:
        env = {**served.emulator.env, **served.server.env, "COLUMNS": "100"}
        return run_python(env, "-m", "commands", *argv, seconds=280)

    return tell


@pytest.fixture(scope="module")
def triggered(told, tmp_path_factory) -> str:
    """The id of a run that the command has triggered and followed to its end."""
    file = tmp_path_factory.mktemp("run") / "run.json"
    file.write_text(small("by-command", data={"max_rows": 16}).model_dump_json(exclude_unset=True))
    begun = json.loads(told("run", "--detach", "--json", "--run", str(file)).stdout)

    followed = told("logs", begun["flow_run_id"], "--follow")

    assert followed.returncode == 0, followed.stdout + followed.stderr
    assert "is registered" in followed.stdout
    return str(begun["flow_run_id"])


def test_a_run_is_found_by_its_id_its_beginning_its_name_and_as_the_last(told, triggered) -> None:
    found = json.loads(told("status", triggered, "--json").stdout)

    assert found["state"] == "Completed"
    assert "Wait for the fine-tuning job" in {one["step"] for one in found["steps"]}
    assert found["job"].startswith("fine-tune-")
    for name in (triggered[:13], found["name"], "last"):
        again = told("status", name)
        assert again.stdout.startswith(triggered), again.stderr
    missing = told("status", "no-such-run")
    assert missing.returncode == 1 and "is called 'no-such-run'" in missing.stderr


def test_the_runs_steps_are_joined_as_the_tutorial_tells_them(triggered, served: Stack) -> None:
    wanted = {"flow_runs": {"id": {"any_": [triggered]}}, "limit": 200}
    steps = served.server.ask("POST", "/task_runs/filter", wanted)
    names = {one["id"]: one["name"].rsplit("-", 1)[0] for one in steps}

    lines = {
        names[one["id"]]: {
            names[source["id"]]
            for inputs in one["task_inputs"].values()
            for source in inputs
            if source["input_type"] == "task_run" and source["id"] in names
        }
        for one in steps
    }

    assert lines["Pin the plan"] == {"Connect to the workspace"}
    assert lines["Verify or create the GPU compute"] == {"Pin the plan"}
    assert "Pin the plan" in lines["Prepare the data"]
    assert lines["Submit the fine-tuning job"] == {
        "Verify or create the GPU compute",
        "Upload the data",
        "Gate: the prepared data",
    }
    assert lines["Wait for the fine-tuning job"] == {"Submit the fine-tuning job"}
    assert lines["Register the fine-tuned model"] == {"Wait for the fine-tuning job"}
    assert lines["Deploy the fine-tuned model"] == {
        "Register the fine-tuned model",
        "Create the endpoint",
    }
    assert "Test the endpoint" in lines["Delete the endpoint"]
    assert "Pin the plan" not in lines["Delete the endpoint"]
    gates = [name for name in lines if name.startswith("Gate: the foundation model")]
    assert gates and all(lines[one] == {"Pin the plan"} for one in gates)  # its group


def test_the_report_is_text_a_page_and_data(told, triggered, tmp_path: Path) -> None:
    text, page = told("report", triggered), tmp_path / "report.html"
    data = json.loads(told("report", triggered, "--json", "--html", str(page)).stdout)

    assert text.stdout.startswith("# Completed")
    assert "## What to do next" in text.stdout
    assert data["outcome"] == "completed" and data["trained"]["registered"]["version"]
    assert data["spent"]["lines"] and data["steps"]["Wait for the fine-tuning job"] > 0
    HTMLParser().feed(page.read_text())
    assert "<svg" in page.read_text()
    refused = told("report", triggered, "--html", str(tmp_path / "no" / "folder.html"))
    assert refused.returncode == 1 and "cannot be written" in refused.stderr


def test_a_run_that_is_cancelled_ends_with_three_and_leaves_its_report(
    told, served: Stack, tmp_path: Path
) -> None:
    file = tmp_path / "run.json"
    file.write_text(endless(small("cancelled-by-command")).model_dump_json(exclude_unset=True))
    run = json.loads(told("run", "--detach", "--json", "--run", str(file)).stdout)["flow_run_id"]
    until("its job is there", lambda: "Submit the fine-tuning job" in told("status", run).stdout)
    unready = told("report", run)
    assert unready.returncode == 1 and "has no report" in unready.stderr

    done = told("cancel", run, "--wait", "--json")

    assert json.loads(done.stdout)["state"] == "Cancelled", done.stderr
    assert told("logs", run, "--follow").returncode == 3
    report = told("report", run)
    assert report.stdout.startswith("# Cancelled"), report.stderr
    assert served.emulator.summary()["endpoints"] == []
    again = told("cancel", run)
    assert again.returncode == 1 and "has ended already" in again.stderr


def test_a_run_in_the_terminal_whose_plan_is_refused_ends_with_one_and_its_report(told) -> None:
    done = told("run", "--json", "--model.name", "No-such-model", "--key", "refused-by-command")

    found = json.loads(done.stdout[done.stdout.index("{") :])
    assert (done.returncode, found["state"]) == (1, "Failed")
    assert found["report"]["error_class"] == "PlanRefused"
    assert "No-such-model" in found["report"]["error"]
    assert sys.executable not in done.stdout
