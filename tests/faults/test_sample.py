"""A few single faults of the sweep, where money is at stake; ``make faults`` tries them all."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import ROOT
from tests.faults.cases import FAULTS, all_cases, sample
from tests.faults.positions import Position, positions_of, template

CASES = 4


@pytest.mark.soak  # five fine-tunes
@pytest.mark.timeout(600)
def test_after_any_single_fault_one_job_was_started_and_nothing_runs(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "tests.faults", "--out", str(tmp_path)]
    ran = subprocess.run(
        [*command, "--only", "PUT management", "--sample", str(CASES)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=590,
        check=False,
    )

    assert ran.returncode == 0, ran.stdout[-3000:] + ran.stderr[-3000:]
    found = json.loads((tmp_path / "matrix.json").read_text())
    assert found["cases"] == CASES
    assert found["completed"] + found["failed_with_cause"] == CASES, [
        (row["verdict"], row["name"], row["message"]) for row in found["rows"]
    ]
    assert found["jobs_twice"] == found["left_running"] == found["secrets_seen"] == 0


def test_a_position_is_the_same_in_two_runs() -> None:
    first = "/subscriptions/0b6d3c5e-0000-4000-8000-000000000001/x/jobs/fine-tune-0123456789"
    second = "/subscriptions/0b6d3c5e-0000-4000-8000-000000000002/x/jobs/fine-tune-abcdefabcd"

    assert template(first, []) == template(second, []) == "/subscriptions/{}/x/jobs/fine-tune-{}"


def test_a_repeated_request_counts_but_is_hit_twice_at_most() -> None:
    poll = {"method": "GET", "host": "management.abc.azureml.test", "path": "/jobs/a"}
    found = positions_of([poll] * 5, own=[])

    assert [one.occurrence for one in found] == [0, 1]


def test_a_sample_has_every_kind_of_fault() -> None:
    positions = [Position("management", "GET", f"/{n}", 0) for n in range(9)]

    assert {one.fault for one in sample(all_cases(positions), len(FAULTS))} == set(FAULTS)
