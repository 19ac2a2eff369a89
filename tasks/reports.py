"""Reports: the plan and the result, as artifacts, in the terminal and in a file."""

from __future__ import annotations

import json
from pathlib import Path
from uuid import UUID

import httpx
from prefect import task
from prefect.artifacts import create_markdown_artifact, create_table_artifact
from prefect.cache_policies import NO_CACHE
from prefect.client.orchestration import SyncPrefectClient, get_client

from finetuning.form.results import Result
from finetuning.planning import run_report
from finetuning.planning.findings import Finding
from finetuning.planning.plan import PlanReport
from finetuning.planning.report import as_markdown, parameter_rows, verdict
from finetuning.planning.run_report import REPORT_INPUT, RunReport
from tasks.kept_results import result_storage
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


@task(name="Publish the report", cache_policy=NO_CACHE, persist_result=False)
def publish_report(report: RunReport) -> None:
    """Write the run's one report: an artifact, and beside the run's kept results HTML and JSON.

    The JSON is also an input of the flow run at Prefect's server, where every machine can read it.
    """
    create_markdown_artifact(
        run_report.as_markdown(report), key="report", description=report.headline[:500]
    )
    data = report.model_dump_json(indent=1)
    with get_client(sync_client=True) as client:
        run = UUID(report.flow_run_id)
        _forget(client, run)
        client.create_flow_run_input(run, REPORT_INPUT, data)
    for ending, content in (("html", run_report.as_html(report)), ("json", data)):
        result_storage().write_path(f"reports/{report.flow_run_id}.{ending}", content.encode())


def _forget(client: SyncPrefectClient, run: UUID) -> None:
    """Remove the report of an earlier attempt: an input is written once."""
    try:
        client.delete_flow_run_input(run, REPORT_INPUT)
    except httpx.HTTPStatusError as error:
        if error.response.status_code != 404:
            raise


def _text(result: Result) -> str:
    rows = {
        "base model": f"{result.model.name} {result.model.version}",
        "rows": ", ".join(f"{name} {count}" for name, count in result.data.rows.items()),
        "job": f"[{result.job.name}]({result.job.studio_url})",
        **_attempts(result),
        "training loss": f"{result.metrics.loss_first} → {result.metrics.loss_last}",
        "registered model": f"{result.registered.name} {result.registered.version}",
        "endpoint": _endpoint(result),
        "verdict": _verdict(result),
        "promotion": _promotion(result),
    }
    lines = [f"| {what} | {value} |" for what, value in rows.items()]
    return "\n".join(["| what | value |", "| --- | --- |", *lines])


def _attempts(result: Result) -> dict[str, str]:
    """Return what the job is the last attempt of, where it is not the only one."""
    if len(result.attempts) < 2:
        return {}
    said = []
    for one in result.attempts[1:]:
        changes = ", ".join(f"{name} {value}" for name, value in one.changes.items())
        said.append(f"{one.job} after: {one.cause}" + (f" ({changes})" if changes else ""))
    return {"attempts": f"{len(result.attempts)}; {'; '.join(said)}"}


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
