"""A plan's report where it may not be written: the plan goes on, and says so."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from finetuning.planning.plan import PlanReport
from tasks.reports import write_report


def test_a_report_is_written_whole_and_unchanged(tmp_path: Path) -> None:
    place = tmp_path / "var" / "plan" / "report.json"

    assert write_report(PlanReport(findings=[]), place) == PlanReport(findings=[])
    assert json.loads(place.read_text())["findings"] == []
    assert [one.name for one in place.parent.iterdir()] == ["report.json"]


@pytest.mark.parametrize("where", ["a file in the way", "/proc/none"])
def test_a_report_that_cannot_be_written_is_a_warning_and_the_plan_goes_on(
    tmp_path: Path, where: str
) -> None:
    (tmp_path / "a file in the way").write_text("")
    place = (tmp_path / where) / "plan" / "report.json"

    report = write_report(PlanReport(findings=[]), place)

    (found,) = report.findings
    assert (found.gate, found.level) == ("report", "warning")
    assert str(place.resolve()) in found.what
    assert found.change
