"""Orphans: the endpoints and jobs that bear our tags, and what was done about them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from prefect.artifacts import create_markdown_artifact

from finetuning.azure.client import open_client
from finetuning.azure.ownership import RUN_TAG, Decision, Orphan, read_tags, report
from finetuning.azure.service_errors import state_text
from finetuning.azure.settings import Settings
from tasks.step import azure_step
from tasks.training import has_ended

if TYPE_CHECKING:
    from azure.ai.ml import MLClient


@azure_step("List what bears our tags")
def find_orphans(settings: Settings) -> list[Orphan]:
    """Return every endpoint and every unfinished job of the workspace that bears our tags."""
    client = open_client(settings)
    found = [_endpoint(client, one) for one in client.online_endpoints.list()]
    found += [_job(one) for one in client.jobs.list(tag=RUN_TAG) if one is not None]
    return [one for one in found if one is not None]


def _endpoint(client: MLClient, endpoint: Any) -> Orphan | None:
    state = state_text(endpoint.provisioning_state)
    ours = read_tags("endpoint", str(endpoint.name), state, endpoint.tags, 0.0)
    if ours is None:  # nothing more is asked about what is not ours
        return None
    deployments = client.online_deployments.list(ours.name)
    nodes = sum(float(one.instance_count or 1) for one in deployments)
    return ours.model_copy(update={"nodes": nodes})


def _job(job: Any) -> Orphan | None:
    state = state_text(job.status)
    if has_ended(state):
        return None
    return read_tags("job", str(job.name), state, job.tags, 1.0)


@azure_step("Report what was removed")
def publish_reaping(decisions: list[Decision], failures: Mapping[str, str], dry_run: bool) -> str:
    """Write an artifact that says of each resource what was done and why; return its text."""
    text = report(decisions, failures, dry_run=dry_run)
    create_markdown_artifact(text, key="reaped", description="What dead runs had left behind")
    return text
