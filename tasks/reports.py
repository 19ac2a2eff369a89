"""Reports: what a run did, as an artifact that the UI shows and the API returns."""

from __future__ import annotations

from prefect.artifacts import create_markdown_artifact

from tasks.retries import azure_step
from workspace.types import Result


@azure_step("Publish the result", tags={"report"})
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
