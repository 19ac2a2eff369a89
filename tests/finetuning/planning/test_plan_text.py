"""The plan as text: nothing that a reader needs stands in a table too wide for the UI."""

from __future__ import annotations

import re

from finetuning.planning.findings import Finding
from finetuning.planning.plan import PlanReport
from finetuning.planning.report import as_markdown

LONG = "This sentence is as long as the sentences of the checks are, which is rather long. " * 2


def test_findings_are_a_list_with_the_errors_first_and_each_says_what_to_change() -> None:
    text = as_markdown(
        PlanReport(
            findings=[
                Finding(gate="data", level="note", what=f"{LONG}Fine.", change=""),
                Finding(gate="compute", level="error", what=f"{LONG}Bad.", change="Change | it."),
            ]
        )
    )

    lines = [line for line in text.splitlines() if line.startswith("- ")]
    assert [re.findall(r"\*\*(\w+)\*\*:", line) for line in lines] == [["compute"], ["data"]]
    assert lines[0].endswith("**Change | it.**")
    assert not [line for line in text.splitlines() if line.startswith("|") and len(line) > 120]


def test_a_plan_without_findings_says_so() -> None:
    assert "## Findings\n\nNone." in as_markdown(PlanReport(findings=[]))
