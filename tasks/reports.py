"""Reports: the plan and the result, as artifacts, in the terminal and in a file."""

from __future__ import annotations

import json
from pathlib import Path

from prefect import task
from prefect.artifacts import create_markdown_artifact, create_table_artifact
from prefect.cache_policies import NO_CACHE

from finetuning.form.results import Result
from finetuning.planning.findings import Finding
from finetuning.planning.plan import PlanReport
from finetuning.planning.report import as_markdown, parameter_rows, verdict
from tasks.step import REPEATED, azure_step

REPORT = Path("var/plan/report.json")


@task(name="Publish the plan", cache_policy=NO_CACHE, **REPEATED)
def publish_plan(report: PlanReport) -> None:
    """Write the plan as artifacts: the report, and the parameters with their origin."""
    create_markdown_artifact(as_markdown(report), key="plan", description=verdict(report))
    names = ("name", "value", "origin")
    create_table_artifact(
        [dict(zip(names, row, strict=True)) for row in parameter_rows(report.parameters)],
        key="parameters",
        description="Every parameter of the job, and where its value came from",
    )


def write_report(report: PlanReport, place: Path = REPORT) -> PlanReport:
    """Write the report as JSON, all of it or nothing, and return it.

    Where it cannot be written it says so itself: the plan is worth showing without its file.
    """
    unfinished = place.with_suffix(".part")
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        unfinished.write_text(json.dumps(report.as_data(), indent=1) + "\n", encoding="utf-8")
        unfinished.replace(place)
    except OSError as error:
        return report.model_copy(update={"findings": [*report.findings, _unwritten(place, error)]})
    return report


def _unwritten(place: Path, error: OSError) -> Finding:
    return Finding(
        gate="report",
        level="warning",
        what=f"The report was not written to {place.resolve()}: {error.strerror or error}.",
        change="Run it where the folder var can be written, or read the report here.",
    )


def show(report: PlanReport) -> None:
    """Print the report to the terminal."""
    from rich.console import Console
    from rich.markdown import Markdown

    Console().print(Markdown(as_markdown(report)))


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
        "endpoint": _endpoint(result),
        "verdict": _verdict(result),
        "promotion": _promotion(result),
    }
    lines = [f"| {what} | {value} |" for what, value in rows.items()]
    return "\n".join(["| what | value |", "| --- | --- |", *lines])


def _verdict(result: Result) -> str:
    found = result.verdict
    return "none: not evaluated" if found is None else f"{found.decision}: {found.why}"


def _promotion(result: Result) -> str:
    found = result.promotion
    return "none" if found is None else f"{found.outcome} on {found.endpoint}: {found.why}"


def _endpoint(result: Result) -> str:
    if result.endpoint is None:
        return "none: trained, not served"
    return f"{result.endpoint} ({'kept' if result.endpoint_kept else 'deleted'})"
