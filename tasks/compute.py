"""Compute: the GPU cluster, looked at, created if allowed, and proven able to run the job."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from prefect import get_run_logger

from finetuning.azure.client import open_client
from finetuning.azure.ownership import KEY_TAG
from finetuning.azure.rest import get_workspace
from finetuning.azure.service_errors import look_up, refusal_of, state_text
from finetuning.azure.settings import Settings
from finetuning.errors import ComputeError, ResourceMissing
from finetuning.form.context import RunContext
from finetuning.form.run import ComputeChoice
from finetuning.planning.facts import ClusterFacts, ComputeFacts, NodeSize, Quota
from finetuning.planning.findings import Report, errors
from finetuning.planning.model_card import ModelCard
from finetuning.planning.plan import ComputePlan
from finetuning.planning.quotas import read_usages
from finetuning.planning.rules.compute import check_state, check_training_size
from tasks.step import azure_step
from tasks.waiting import Patience, patience, wait_for_operation, wait_until

if TYPE_CHECKING:
    from azure.ai.ml import MLClient

#: States in which Azure works on a cluster.
MOVING = ("creating", "updating", "resizing", "provisioning", "deleting", "unknown")
TIERS = {
    "dedicated": ["dedicated"],
    "low_priority": ["low_priority"],
    "dedicated_then_low_priority": ["dedicated", "low_priority"],
}


@azure_step("Gate: compute, sizes and quota")
def look_at_compute(settings: Settings, choice: ComputeChoice) -> ComputeFacts:
    """Return what there is; whether it will do depends on the model, and is checked later."""
    report = Report("compute")
    client = open_client(settings)
    location = str(get_workspace(settings)["location"])
    clusters = {name: look_up(client.compute.get, name) for name in clusters_of(choice)}
    return ComputeFacts(
        clusters={name: _facts(found) for name, found in clusters.items() if found is not None},
        sizes=_sizes(client.compute.list_sizes(location=location)),
        quotas=_quotas(client, location, report),
        findings=report.findings,
    )


def clusters_of(choice: ComputeChoice) -> list[str]:
    """Return the clusters that the run's steps use, the run's own first."""
    own = [choice.name] if choice.uses_cluster else []
    others = [own.cluster for own in choice.steps.chosen().values() if own.cluster != "serverless"]
    return list(dict.fromkeys([*own, *others]))


def _facts(cluster: Any) -> ClusterFacts:
    idle = getattr(cluster, "idle_time_before_scale_down", None)
    return ClusterFacts(
        name=str(cluster.name),
        state=_state(cluster),
        size=str(getattr(cluster, "size", "")),
        low_priority="low" in state_text(getattr(cluster, "tier", None)).lower(),
        max_nodes=int(getattr(cluster, "max_instances", None) or 1),
        idle_seconds=int(idle) if idle is not None else None,
        reason=str(cluster.provisioning_errors or ""),
    )


def _sizes(listed: Iterable[Any]) -> dict[str, NodeSize]:
    """Return the region's sizes; the SDK keeps the service's own spelling of their facts."""
    sizes = {}
    for facts in map(vars, listed):
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
        usages = [vars(usage) for usage in client.compute.list_usage(location=location)]
    except HttpResponseError as error:
        report.note(
            f"Azure does not report the quota in {location} (HTTP {error.status_code}).",
            "Check it in the studio before a large run.",
        )
        return {}
    return read_usages(usages)


@azure_step("Verify or create the GPU compute")
def ensure_compute(context: RunContext, plan: ComputePlan) -> str | None:
    """Return the name of a cluster that can run the job. All that costs more waits for this.

    None where no step runs on the run's own cluster: it is neither made nor looked at.

    A cluster of that name is reused, also one that is still being made; one that an earlier try of
    this run failed to make is made anew. Where there is none and it may be made, the tiers of
    ``run.compute.tier`` are tried in order; a low-priority cluster comes with a warning.

    Raises:
        ResourceMissing: there is none and it may not be made.
        ComputeError: it failed, or its size is not supported, not allowed or not listed.
    """
    client, choice = open_client(context.settings), plan.choice
    if not choice.uses_cluster:
        get_run_logger().info("every step has a compute of its own: no cluster is needed")
        return None
    wait = patience(context.deadlines, "compute_minutes")
    cluster = _settled(client, choice.name, wait)
    if cluster is not None and _state(cluster) == "failed" and _is_ours(cluster, context):
        _delete(client, choice.name, wait)
        cluster = _settled(client, choice.name, wait)
    if cluster is None:
        cluster = _create(client, context, plan, wait)
    _verify(client, cluster, plan)
    return choice.name


def _create(client: MLClient, context: RunContext, plan: ComputePlan, wait: Patience) -> Any:
    choice = plan.choice
    if not choice.may_create:
        raise ResourceMissing(
            "Compute",
            choice.name,
            f"workspace '{context.settings.workspace_name}'",
            "Create it, or set run.compute.may_create.",
        )
    _check_size(client, choice.size, plan)
    refusals: list[str] = []
    for tier in TIERS[choice.tier]:
        try:
            return _create_tier(client, context, choice, tier, wait)
        except ComputeError as error:
            refusals.append(f"{tier}: {error}")
    raise ComputeError(
        f"Cluster '{choice.name}' of size {choice.size} could not be created. "
        f"Tried: {'; '.join(refusals)}. Request more quota, or choose another size or region."
    )


def _create_tier(
    client: MLClient, context: RunContext, choice: ComputeChoice, tier: str, wait: Patience
) -> Any:
    from azure.ai.ml.entities import AmlCompute
    from azure.core.exceptions import HttpResponseError

    log = get_run_logger()
    if tier == "low_priority":
        log.warning("cluster %s gets low-priority nodes: they may be pre-empted", choice.name)
    cluster = AmlCompute(
        name=choice.name,
        size=choice.size,
        tier=tier,
        min_instances=0,
        max_instances=choice.max_nodes,
        idle_time_before_scale_down=int(choice.idle_minutes * 60),
        tags=context.owner.tags,
    )
    log.info("creating cluster %s (%s, %s)", choice.name, choice.size, tier)
    try:
        operation = client.compute.begin_create_or_update(cluster)
        wait_for_operation(f"Cluster '{choice.name}'", operation, wait)
    except HttpResponseError as error:
        if error.status_code in (401, 403, 429) or (error.status_code or 0) >= 500:
            raise
        raise ComputeError(refusal_of(error)) from error
    made = _settled(client, choice.name, wait)
    if made is None:
        raise ComputeError("it was deleted while it was being created")
    if _state(made) == "failed":
        reason = str(made.provisioning_errors or "Azure gave no reason")
        _delete(client, choice.name, wait)
        raise ComputeError(reason)
    return made


def _delete(client: MLClient, name: str, wait: Patience) -> None:
    wait_for_operation(f"Deleting cluster '{name}'", client.compute.begin_delete(name), wait)


def _settled(client: MLClient, name: str, wait: Patience) -> Any | None:
    """Return the cluster once Azure no longer works on it; None once it is not there."""
    return wait_until(
        f"Cluster '{name}'",
        lambda: look_up(client.compute.get, name),
        lambda seen: seen is None or _state(seen) not in MOVING,
        wait,
    )


def _is_ours(cluster: Any, context: RunContext) -> bool:
    return bool((cluster.tags or {}).get(KEY_TAG) == context.owner.key)


def _verify(client: MLClient, cluster: Any, plan: ComputePlan) -> None:
    """Hold the cluster, as it is now, against the rules that the plan held it against.

    Raises:
        ComputeError: what speaks against it.
    """
    facts, report = _facts(cluster), Report("compute")
    check_state(facts, report)
    _raise_errors(report)
    _check_size(client, facts.size, plan)
    log = get_run_logger()
    if facts.low_priority:
        log.warning("cluster %s has low-priority nodes: the job may be pre-empted", facts.name)
    log.info("cluster %s: %s", facts.name, facts.size)


def _check_size(client: MLClient, size: str, plan: ComputePlan) -> None:
    card = ModelCard(finetune_sizes=None if plan.allowed is None else tuple(plan.allowed))
    report = Report("compute")
    check_training_size(size, card, ComputeFacts(sizes=_sizes(client.compute.list_sizes())), report)
    _raise_errors(report)


def _raise_errors(report: Report) -> None:
    refused = errors(report.findings)
    if refused:
        raise ComputeError(" ".join(f"{finding.what} {finding.change}" for finding in refused))


def _state(cluster: Any) -> str:
    return state_text(cluster.provisioning_state).lower()
