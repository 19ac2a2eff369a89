"""Compute: the GPU cluster, looked at, created if allowed, and proven able to run the job."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from prefect import get_run_logger

from finetuning.azure.client import open_client
from finetuning.azure.ownership import KEY_TAG, Ownership
from finetuning.azure.rest import get_workspace
from finetuning.azure.service_errors import service_errors, state_text
from finetuning.azure.settings import Settings
from finetuning.errors import ComputeError, ResourceMissing
from finetuning.form.results import Cluster
from finetuning.form.run import ComputeChoice, Deadlines
from finetuning.planning.facts import ClusterFacts, ComputeFacts, NodeSize, Quota
from finetuning.planning.findings import Report
from finetuning.planning.rules.compute import K80
from tasks.step import azure_step
from tasks.waiting import Patience, wait_until

if TYPE_CHECKING:
    from azure.ai.ml import MLClient


STEPS = ("model_import", "preprocess", "finetune", "model_evaluation")


@azure_step("Gate: compute, sizes and quota")
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


@azure_step("Verify or create the GPU compute")
def ensure_compute(
    settings: Settings,
    choice: ComputeChoice,
    allowed: list[str] | None,
    owner: Ownership,
    deadlines: Deadlines,
) -> Cluster:
    """Return a cluster that can run the job. Everything that costs more waits for this.

    A cluster of that name is reused, also one that is still being made; one that an earlier try of
    this run failed to make is made anew. Where there is none and it may be made, the tiers of
    ``choice.tier`` are tried in order; a low-priority cluster comes with a warning.

    Raises:
        ResourceMissing: there is none and it may not be made.
        ComputeError: it failed, or its size is not supported, not allowed or not listed.
    """
    client = open_client(settings)
    patience = _patience(deadlines)
    found = _settled(client, choice.name, patience)
    if found is not None and _state(found) == "failed" and _is_ours(found, owner):
        client.compute.begin_delete(choice.name).wait(patience.deadline)
        found = _settled(client, choice.name, patience)
    created = found is None
    if found is None:
        if not choice.may_create:
            raise ResourceMissing(
                "Compute",
                choice.name,
                f"workspace '{settings.workspace_name}'",
                "Create it, or run with run.compute.may_create.",
            )
        found = _create(client, choice, allowed, owner, patience)
    return _verified(client, found, allowed, created=created)


def _find(client: MLClient, name: str) -> Any | None:
    from azure.core.exceptions import ResourceNotFoundError

    try:
        return client.compute.get(name)
    except ResourceNotFoundError:  # anything else, a wrong credential above all, is an error
        return None


def _tiers(choice: ComputeChoice) -> list[str]:
    return {
        "dedicated": ["dedicated"],
        "low_priority": ["low_priority"],
        "dedicated_then_low_priority": ["dedicated", "low_priority"],
    }[choice.tier]


def _create(
    client: MLClient,
    choice: ComputeChoice,
    allowed: list[str] | None,
    owner: Ownership,
    patience: Patience,
) -> Any:
    refusals: list[str] = []
    check_size(choice.size, allowed)
    gpus_of(client, choice.size)
    for tier in _tiers(choice):
        try:
            return _create_tier(client, choice, tier, owner, patience)
        except ComputeError as error:
            refusals.append(f"{tier}: {error}")
    raise ComputeError(
        f"Cluster '{choice.name}' of size {choice.size} could not be created. "
        f"Tried {'; '.join(refusals)}. Ask for quota, or choose another size or region."
    )


def _create_tier(
    client: MLClient, choice: ComputeChoice, tier: str, owner: Ownership, patience: Patience
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
        tags=owner.tags,
    )
    log.info("creating cluster %s (%s, %s)", choice.name, choice.size, tier)
    try:
        client.compute.begin_create_or_update(cluster).wait(patience.deadline)
    except HttpResponseError as error:
        if error.status_code is not None and error.status_code >= 500:
            raise
        if error.status_code in (401, 403, 429):
            raise
        raise ComputeError(_words(error)) from error
    made = _settled(client, choice.name, patience)
    if made is None:
        raise ComputeError("somebody deleted it while it was made")
    if _state(made) == "failed":
        reason = _reason(made)
        client.compute.begin_delete(choice.name).wait(patience.deadline)
        raise ComputeError(reason)
    return made


def _settled(client: MLClient, name: str, patience: Patience) -> Any | None:
    """Return the cluster once Azure no longer works on it; None once it is not there."""
    moving = ("creating", "updating", "resizing", "provisioning", "deleting", "unknown")

    def look() -> Any | None:
        with service_errors(f"Look at cluster '{name}'"):
            return _find(client, name)

    return wait_until(
        f"Cluster '{name}'", look, lambda seen: seen is None or _state(seen) not in moving, patience
    )


def _is_ours(found: Any, owner: Ownership) -> bool:
    return bool((found.tags or {}).get(KEY_TAG) == owner.key)


def _verified(client: MLClient, found: Any, allowed: list[str] | None, *, created: bool) -> Cluster:
    state = _state(found)
    if state != "succeeded":
        raise ComputeError(
            f"Cluster '{found.name}' is in state '{state}': {_reason(found)}. "
            "Delete it, or choose another with run.compute.name."
        )
    check_size(str(found.size), allowed)
    gpus = gpus_of(client, str(found.size))
    tier = str(found.tier or "dedicated").lower()
    log = get_run_logger()
    if "low" in tier:
        log.warning("cluster %s has low-priority nodes: the job may be pre-empted", found.name)
    log.info("cluster %s: %s with %s GPUs a node, %s", found.name, found.size, gpus, tier)
    return Cluster(
        name=str(found.name),
        size=str(found.size),
        tier=tier,
        gpus_per_node=gpus,
        max_nodes=int(found.max_instances or 1),
        created=created,
    )


def check_size(size: str, allowed: list[str] | None) -> None:
    """Hold a VM size against the model's allow-list, or, without one, against the K80 sizes.

    Raises:
        ComputeError: the size is not supported; names those that are.
    """
    if allowed is not None and size.lower() not in [one.lower() for one in allowed]:
        raise ComputeError(
            f"VM size {size} is not among those that this model can be fine-tuned on: "
            f"{', '.join(allowed)}. Choose one of them with run.compute.size."
        )
    if allowed is None and size.lower() in K80:
        raise ComputeError(
            f"VM size {size} has K80 cards, which fine-tuning does not support. "
            "Choose another with run.compute.size."
        )


def gpus_of(client: MLClient, size: str) -> int:
    """Return how many GPUs a node of this size has, as the workspace lists it.

    Raises:
        ComputeError: the workspace does not list the size, or it has no GPU.
    """
    sizes = {str(one.name).lower(): one for one in client.compute.list_sizes()}
    found = sizes.get(size.lower())
    if found is None:
        raise ComputeError(
            f"VM size {size} is not offered in this workspace's region. "
            f"Offered: {', '.join(sorted(str(one.name) for one in sizes.values()))}."
        )
    if not found.gpus:
        raise ComputeError(f"VM size {size} has no GPU. Choose another with run.compute.size.")
    return int(found.gpus)


def _state(found: Any) -> str:
    return state_text(found.provisioning_state).lower()


def _patience(deadlines: Deadlines) -> Patience:
    return Patience(
        deadline=deadlines.compute_minutes * 60,
        interval=min(deadlines.poll_seconds, 10),
        outage=deadlines.outage_minutes * 60,
        parameter="run.deadlines.compute_minutes",
    )


def _words(error: Any) -> str:
    message = getattr(getattr(error, "error", None), "message", None)
    return str(message or error.message)


def _reason(found: Any) -> str:
    errors = found.provisioning_errors
    return str(errors) if errors else "Azure gave no reason"
