"""Reports: the plan and the result, as artifacts, in the terminal and in a file."""

from __future__ import annotations

import json
from pathlib import Path

from prefect.artifacts import create_markdown_artifact, create_table_artifact
from prefect.cache_policies import NO_CACHE

from finetuning.form.results import Result
from finetuning.planning.plan import PlanReport
from finetuning.planning.report import as_markdown, parameter_rows, verdict
from tasks.step import REPEATED, azure_step, step

REPORT = Path("var/plan/report.json")


@step("Publish the plan", cache_policy=NO_CACHE, **REPEATED)
def publish_plan(draft: PlanReport) -> None:
    """Write the plan as artifacts: the report, and the parameters with their origin."""
    create_markdown_artifact(as_markdown(draft), key="plan", description=verdict(draft))
    names = ("name", "value", "origin")
    create_table_artifact(
        [dict(zip(names, row, strict=True)) for row in parameter_rows(draft.parameters)],
        key="parameters",
        description="Every parameter of the job, and where its value came from",
    )


def write_report(draft: PlanReport, place: Path = REPORT) -> Path:
    """Write the report as JSON, all of it or nothing; return where."""
    place.parent.mkdir(parents=True, exist_ok=True)
    unfinished = place.with_suffix(".part")
    unfinished.write_text(json.dumps(draft.report(), indent=1) + "\n", encoding="utf-8")
    unfinished.replace(place)
    return place


def show(draft: PlanReport) -> None:
    """Print the report to the terminal."""
    from rich.console import Console
    from rich.markdown import Markdown

    Console().print(Markdown(as_markdown(draft)))


@azure_step("Publish the result")
def publish_result(result: Result) -> Result:
    """Write the run's result as a markdown artifact, and return it."""
    create_markdown_artifact(
        _text(result), key="fine-tune-result", description="What this run trained and answered"
    )
    return result


def _text(result: Result) -> str:
    rows = {
        "base model": f"{result.model.name} {result.model.version}",
        "rows": ", ".join(f"{name} {count}" for name, count in result.data.rows.items()),
        "job": f"[{result.job.name}]({result.job.studio_url})",
        "training loss": f"{result.metrics.loss_first} → {result.metrics.loss_last}",
        "registered model": f"{result.registered.name} {result.registered.version}",
        "endpoint": f"{result.endpoint} ({'kept' if result.endpoint_kept else 'deleted'})",
    }
    lines = [f"| {what} | {value} |" for what, value in rows.items()]
    return "\n".join(["| what | value |", "| --- | --- |", *lines])
