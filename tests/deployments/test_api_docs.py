"""Every command of docs/api.md, run as it stands there against a real server."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from deployments.local_stack import ROOT
from tests.conftest import RunningEmulator
from tests.deployments.conftest import Stack
from tests.support.runs import small

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not shutil.which("curl"), reason="curl is not installed"),
]

PAGE = (ROOT / "docs" / "api.md").read_text(encoding="utf-8")
#: Shell variables and functions that later blocks of the page use.
KEPT = "deployment weekly run again long schedule failed waits"
FUNCTIONS = "ask field trigger ended retry"


def blocks(heading: str, language: str) -> list[str]:
    """The code blocks below a heading of the page."""
    section = PAGE.split(f"## {heading}\n")[1].split("\n## ")[0]
    return re.findall(rf"```{language}\n(.*?)```", section, re.DOTALL)


class Shell:
    """Runs blocks one after another; variables and functions stay, as in a person's terminal."""

    def __init__(self, stack: Stack, folder: Path) -> None:
        self.stack, self.folder = stack, folder
        (folder / "kept").write_text("")
        self.env = {**os.environ, **stack.server.env}
        self.run(re.findall(r"```bash\n(.*?)```", PAGE, re.DOTALL)[0])

    def run(self, block: str) -> str:
        script = (
            f"set -euo pipefail\nsource kept\n{block}\n"
            f"(declare -p {KEPT} || true; declare -f {FUNCTIONS} || true) > kept.new 2>/dev/null\n"
            "mv kept.new kept\n"
        )
        done = subprocess.run(
            ["bash", "-c", script],
            cwd=self.folder,
            env=self.env,
            capture_output=True,
            text=True,
            timeout=280,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout


@pytest.fixture(scope="module")
def shell(served: Stack, tmp_path_factory: pytest.TempPathFactory) -> Shell:
    served.emulator.clear_faults()
    return Shell(served, tmp_path_factory.mktemp("shell"))


@pytest.fixture(scope="module")
def triggered(shell: Shell) -> list[str]:
    """The ids that the page's two requests with one idempotency key return."""
    return shell.run(blocks("Trigger a fine-tune", "bash")[0]).split()


@pytest.fixture(scope="module")
def followed(shell: Shell, triggered: list[str]) -> str:
    """What following the run prints, up to its end."""
    return shell.run(blocks("Follow it", "bash")[0])


def test_a_repeated_request_returns_the_first_ones_run(triggered: list[str]) -> None:
    first, second = triggered

    assert first == second


def test_a_bad_value_is_refused_with_its_fields_name(shell: Shell, triggered: list[str]) -> None:
    answer = shell.run(blocks("Trigger a fine-tune", "bash")[1])

    assert "percentage" in json.loads(answer)["detail"]


def test_a_run_is_followed_to_its_end_by_a_readable_name(followed: str) -> None:
    name, state, *rest = followed.splitlines()

    assert name.startswith("Phi-4 · ultrachat_200k 1 % · ")
    assert state == "Completed", followed
    assert "Wait for the fine-tuning job" in rest[0]


def test_the_artifacts_of_a_run_are_read_by_its_id(shell: Shell, followed: str) -> None:
    artifacts, events = (shell.run(one) for one in blocks("Read what came of it", "bash"))

    listed, report = artifacts.split("\n", 1)
    keys = {one["key"] for one in json.loads(listed)}
    assert {"plan", "fine-tune-result", "report"} <= keys
    assert json.loads(report)["outcome"] == "completed"
    payload = json.loads(events)["events"][0]["payload"]
    assert payload["job"].startswith("fine-tune-")
    assert payload["steps"]["Wait for the fine-tuning job"] > 0


def test_the_model_shows_its_lineage(served: Stack, followed: str) -> None:
    wanted = {"filter": {"event": {"prefix": ["prefect.asset."]}}}
    events = served.server.ask("POST", "/events/filter", wanted)["events"]

    made = [one for one in events if one["event"] == "prefect.asset.materialization.succeeded"]
    model = made[-1]["resource"]["prefect.resource.id"]
    upstream = {one["prefect.resource.id"] for one in made[-1]["related"]}
    assert "/models/Phi-4-ultrachat-200k/" in model
    assert any(one.startswith("hf://HuggingFaceH4/ultrachat_200k/") for one in upstream)
    assert any("/models/Phi-4/" in one for one in upstream)


def test_a_failed_run_goes_on_under_its_own_id(shell: Shell, served: Stack) -> None:
    fault = {"kind": "deployment_fails", "message": "no capacity"}
    served.emulator.add_fault(**fault)
    parameters = small("fails-once", data={"max_rows": 16}).model_dump(mode="json")
    failed = served.server.trigger("fine-tune/run", {"run": parameters})
    assert served.server.ended(failed) == "FAILED"
    served.emulator.clear_faults()
    started = served.emulator.summary()["jobs_started"]

    shown = shell.run(f"failed={failed}\n" + blocks("Run a failed one again", "bash")[0])

    assert shown.split() == ["ACCEPT", "Completed"], shown
    assert served.emulator.summary()["jobs_started"] == started


def test_a_suspended_run_is_resumed(shell: Shell, served: Stack) -> None:
    block = blocks("Resume a suspended one", "bash")[0]
    on = next(line for line in block.splitlines() if '{"active": true}' in line)
    off = on.replace("true", "false")  # as it was, for the other tests

    shown = shell.run(f"{block}\n{off}")

    assert shown.split() == ["ACCEPT", "Completed"], shown
    assert served.emulator.summary()["endpoints"] == []


def test_a_cancelled_run_leaves_nothing_running(shell: Shell, served: Stack) -> None:
    shown = shell.run(blocks("Cancel", "bash")[0])

    assert shown.split() == ["ACCEPT", "Cancelled"], shown
    assert served.emulator.summary()["endpoints"] == []


def test_the_schedule_is_changed_and_put_back(shell: Shell, triggered: list[str]) -> None:
    changed = json.loads(shell.run(blocks("Change the schedule", "bash")[0]))

    assert changed[0]["schedule"]["cron"] == "0 3 * * 1"
    assert changed[0]["active"] is True


def test_python_does_the_same(served: Stack, shared_emulator: RunningEmulator) -> None:
    program = "\n".join(blocks("The same in Python", "python"))

    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=ROOT,
        env={**os.environ, **served.server.env},
        capture_output=True,
        text=True,
        timeout=280,
    )

    assert done.returncode == 0, done.stderr
    assert "plan · Phi-4 · ultrachat_200k" in done.stdout
    assert "plan markdown" in done.stdout
    assert "percentage" in done.stdout
    assert re.search(r"\nCancell(ed|ing)\nFalse\n$", done.stdout), done.stdout
