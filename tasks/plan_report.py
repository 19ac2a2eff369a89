"""The plan's report: artifacts in the UI, tables in the terminal, data in a file."""

from __future__ import annotations

import json
from pathlib import Path

from prefect.artifacts import create_markdown_artifact, create_table_artifact
from prefect.cache_policies import NO_CACHE

from tasks.retries import REPEATED, step
from workspace.plan import Draft
from workspace.plan_text import as_markdown, parameter_rows, verdict

REPORT = Path("var/plan/report.json")


@step("Publish the plan", tags={"plan", "report"}, cache_policy=NO_CACHE, **REPEATED)
def publish_plan(draft: Draft) -> None:
    """Write the plan as artifacts: the report, and the parameters with their origin."""
    create_markdown_artifact(as_markdown(draft), key="plan", description=verdict(draft))
    names = ("name", "value", "origin")
    create_table_artifact(
        [dict(zip(names, row, strict=True)) for row in parameter_rows(draft.parameters)],
        key="parameters",
        description="Every parameter of the job, and where its value came from",
    )


def write_report(draft: Draft, place: Path = REPORT) -> Path:
    """Write the report as JSON, all of it or nothing; return where."""
    place.parent.mkdir(parents=True, exist_ok=True)
    unfinished = place.with_suffix(".part")
    unfinished.write_text(json.dumps(draft.report(), indent=1) + "\n", encoding="utf-8")
    unfinished.replace(place)
    return place


def show(draft: Draft) -> None:
    """Print the report to the terminal."""
    from rich.console import Console
    from rich.markdown import Markdown

    Console().print(Markdown(as_markdown(draft)))
