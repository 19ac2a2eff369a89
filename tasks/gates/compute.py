"""Gate: the clusters that a run names, the sizes that the region offers, the quota that is left."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from tasks.retries import azure_step
from workspace.client import open_client, state_text
from workspace.findings import Report
from workspace.plan import ClusterFacts, ComputeFacts, NodeSize, Quota
from workspace.rest import get_workspace
from workspace.settings import Settings
from workspace.types import ComputeChoice

if TYPE_CHECKING:
    from azure.ai.ml import MLClient

STEPS = ("model_import", "preprocess", "finetune", "model_evaluation")


@azure_step("Gate: compute, sizes and quota", tags={"azure", "gate", "plan"})
def look_at_compute(settings: Settings, choice: ComputeChoice) -> ComputeFacts:
    """Gather what there is; whether it will do depends on the model, and is judged later."""
    report = Report("compute")
    client = open_client(settings)
    location = str(get_workspace(settings)["location"])
    found = {name: _cluster(client, name) for name in clusters_of(choice)}
    return ComputeFacts(
        clusters={name: facts for name, facts in found.items() if facts is not None},
        sizes=_sizes(client.compute.list_sizes(location=location)),
        quotas=_quotas(client, location, report),
        findings=report.findings,
    )


def clusters_of(choice: ComputeChoice) -> list[str]:
    """Return the clusters that the run's steps use, the fine-tune's own first."""
    steps = [getattr(choice.steps, step) for step in STEPS]
    others = [one.cluster for one in steps if one is not None and one.cluster != "serverless"]
    return list(dict.fromkeys([choice.name, *others]))


def _cluster(client: MLClient, name: str) -> ClusterFacts | None:
    from azure.core.exceptions import ResourceNotFoundError

    try:
        found: Any = client.compute.get(name)
    except ResourceNotFoundError:  # a wrong credential is not taken for a missing cluster
        return None
    idle = getattr(found, "idle_time_before_scale_down", None)
    return ClusterFacts(
        name=name,
        state=state_text(found.provisioning_state).lower(),
        size=str(getattr(found, "size", "")),
        low_priority="low" in state_text(getattr(found, "tier", None)).lower(),
        max_nodes=int(getattr(found, "max_instances", None) or 1),
        idle_seconds=int(idle) if idle is not None else None,
        reason=str(found.provisioning_errors or ""),
    )


def _sizes(listed: Iterable[Any]) -> dict[str, NodeSize]:
    """Return the region's sizes; the SDK keeps the service's own spelling of their facts."""
    sizes = {}
    for one in listed:
        facts = vars(one)
        sizes[str(facts["name"]).lower()] = NodeSize(
            name=str(facts["name"]),
            family=str(facts.get("family") or ""),
            vcpus=int(facts.get("vCPUs") or 0),
            gpus=int(facts.get("gpus") or 0),
            memory_gb=float(facts.get("memoryGB") or 0),
            disk_gb=float(facts.get("maxResourceVolumeMB") or 0) / 1024,
        )
    return sizes


def _quotas(client: MLClient, location: str, report: Report) -> dict[str, Quota]:
    from azure.core.exceptions import HttpResponseError

    try:
        usages = [vars(one) for one in client.compute.list_usage(location=location)]
    except HttpResponseError as error:
        report.note(
            f"Azure does not tell the quota in {location} (HTTP {error.status_code}).",
            "Look it up in the studio before a large run.",
        )
        return {}
    return {
        _usage_name(one): Quota(used=int(one["currentValue"] or 0), limit=int(one["limit"] or 0))
        for one in usages
        if one.get("limit") is not None
    }


def _usage_name(usage: dict[str, Any]) -> str:
    name = usage.get("name") or {}
    return str(name.get("value") if isinstance(name, dict) else name).lower()
