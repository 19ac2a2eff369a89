"""Whether the training's node will do: allow-list, GPUs, minimum spec, nodes, quota."""

from __future__ import annotations

from finetuning.form.run import ComputeChoice, StepCompute
from finetuning.planning.facts import ClusterFacts, ComputeFacts, NodeSize
from finetuning.planning.findings import Report
from finetuning.planning.model_card import MinimumSpec, ModelCard
from finetuning.planning.prices import Nodes

#: Sizes with K80 cards, which no fine-tune component supports any more.
K80 = ("standard_nc6", "standard_nc12", "standard_nc24", "standard_nc24r")


#: Idle minutes beyond which an existing cluster's waiting is worth a word.
LONG_IDLE_MINUTES = 15


READY = "succeeded"


def training_nodes(choice: ComputeChoice, facts: ComputeFacts, count: int) -> Nodes:
    """Return the nodes that the fine-tune step runs on, as they are or would be made."""
    step = choice.steps.finetune
    if step is not None and step.cluster == "serverless":
        return Nodes(size=step.instance_type or "", count=count)
    name = step.cluster if step is not None else choice.name
    found = facts.clusters.get(name)
    if found is not None:
        return Nodes(size=found.size, count=count, low_priority=found.low_priority)
    return Nodes(size=choice.size, count=count, low_priority=choice.tier == "low_priority")


def check_compute(
    choice: ComputeChoice,
    facts: ComputeFacts,
    card: ModelCard,
    nodes: Nodes,
    report: Report,
) -> None:
    """Say what speaks against the computes that a run names."""
    own = facts.clusters.get(choice.name)
    if own is None:
        _judge_new(choice, facts, nodes, report)
    else:
        _judge_existing(choice, own, nodes, report)
    _judge_steps(choice, facts, report)
    place = "run.compute.steps.finetune" if choice.steps.finetune else "run.compute.size"
    size = check_size_for(nodes.size, card.finetune_sizes, facts, "fine-tuned", place, report)
    if size is not None:
        _judge_gpus(size, card.finetune_minimum, report)


def check_size_for(
    name: str,
    allowed: tuple[str, ...] | None,
    facts: ComputeFacts,
    purpose: str,
    parameter: str,
    report: Report,
) -> NodeSize | None:
    """Hold a size against the model's allow-list and the region's; return what the region lists."""
    if allowed is not None and name.lower() not in [one.lower() for one in allowed]:
        report.error(
            f"VM size {name} is not among those on which this model can be {purpose}: "
            f"{', '.join(allowed)}.",
            f"Choose one of them with {parameter}.",
        )
    if allowed is None and name.lower() in K80:
        report.error(
            f"VM size {name} has K80 cards, which are not supported any more.",
            f"Choose another with {parameter}.",
        )
    return _judge_offered(name, allowed, facts, parameter, report)


def _judge_offered(
    name: str,
    allowed: tuple[str, ...] | None,
    facts: ComputeFacts,
    parameter: str,
    report: Report,
) -> NodeSize | None:
    found = facts.size(name)
    if found is None and facts.sizes:
        report.error(
            f"VM size {name} is not offered in this workspace's region.",
            f"Choose one that is, with {parameter}: {', '.join(_gpu_sizes(facts, allowed))}.",
        )
    return found


def _gpu_sizes(facts: ComputeFacts, allowed: tuple[str, ...] | None) -> list[str]:
    wanted = {one.lower() for one in allowed} if allowed is not None else None
    return sorted(
        one.name
        for key, one in facts.sizes.items()
        if one.gpus and key not in K80 and (wanted is None or key in wanted)
    )


def _judge_gpus(size: NodeSize, minimum: MinimumSpec | None, report: Report) -> None:
    if size.gpus == 0:
        report.error(
            f"VM size {size.name} has no GPU, and fine-tuning needs one.",
            "Choose another with run.compute.size.",
        )
    if minimum is not None:
        check_minimum(size, minimum, "fine-tuning", "run.compute.size", report)


def check_minimum(
    size: NodeSize, minimum: MinimumSpec, purpose: str, parameter: str, report: Report
) -> None:
    """Hold a size against the model's minimum: short of GPUs or memory is an error."""
    for what, has, needs, fatal in (
        ("GPUs", size.gpus, minimum.gpus, True),
        ("GB of memory", size.memory_gb, minimum.memory_gb, True),
        ("vCPUs", size.vcpus, minimum.vcpus, False),
        ("GB of disk", size.disk_gb, minimum.disk_gb, False),
    ):
        if has < needs:
            say = report.error if fatal else report.warn
            say(
                f"VM size {size.name} has {has:g} {what}; {purpose} this model needs {needs:g}.",
                f"Choose a larger size with {parameter}.",
            )


def _judge_existing(
    choice: ComputeChoice, found: ClusterFacts, nodes: Nodes, report: Report
) -> None:
    if found.state != READY:
        reason = f": {found.reason}" if found.reason else ""
        report.error(
            f"Cluster '{found.name}' is in state '{found.state}'{reason}.",
            "Delete it, wait until it is ready, or choose another with run.compute.name.",
        )
    if found.size.lower() != choice.size.lower():
        report.warn(
            f"Cluster '{found.name}' is there already and has size {found.size}, "
            f"not {choice.size}.",
            "Its own size counts; choose another run.compute.name for another size.",
        )
    if choice.steps.finetune is None:
        _judge_node_count(found.max_nodes, nodes.count, f"Cluster '{found.name}'", report)
    if found.low_priority:
        _warn_of_preemption(f"Cluster '{found.name}' has", report)
    if found.idle_seconds is not None and found.idle_seconds > LONG_IDLE_MINUTES * 60:
        report.warn(
            f"Cluster '{found.name}' keeps an idle node for {found.idle_seconds / 60:.0f} minutes, "
            "which bill.",
            "Lower its idle time before scale-down in the studio.",
        )


def _judge_node_count(most: int, wanted: int, who: str, report: Report) -> None:
    if wanted > most:
        report.error(
            f"{who} has at most {most} node(s); num_nodes_finetune asks for {wanted}.",
            "Lower num_nodes_finetune, or give the cluster more nodes (run.compute.max_nodes).",
        )


def _warn_of_preemption(what: str, report: Report) -> None:
    report.warn(
        f"{what} low-priority nodes: the job may be pre-empted and start over.",
        "Choose run.compute.tier 'dedicated' for a run that must not be interrupted.",
    )


def _judge_new(choice: ComputeChoice, facts: ComputeFacts, nodes: Nodes, report: Report) -> None:
    if choice.steps.finetune is not None and not _used_by_a_step(choice):
        return
    if not choice.may_create:
        report.error(
            f"Cluster '{choice.name}' is not in the workspace, and the run may not create it.",
            "Create it, or run with run.compute.may_create.",
        )
        return
    if choice.steps.finetune is None:
        _judge_node_count(choice.max_nodes, nodes.count, f"Cluster '{choice.name}'", report)
    if choice.tier == "low_priority":
        _warn_of_preemption(f"Cluster '{choice.name}' would have", report)
    _judge_quota(choice, facts, report)


def _used_by_a_step(choice: ComputeChoice) -> bool:
    """Whether a step runs on the run's own cluster, though the fine-tune does not."""
    steps = choice.steps
    return any(
        step is None or step.cluster == choice.name
        for step in (steps.model_import, steps.preprocess, steps.finetune)
    )


def _judge_quota(choice: ComputeChoice, facts: ComputeFacts, report: Report) -> None:
    size = facts.size(choice.size)
    if size is None or not facts.quotas:
        return
    needed = size.vcpus * choice.max_nodes
    dedicated = facts.quotas.get(size.family.lower())
    low = next((one for name, one in facts.quotas.items() if "lowpriority" in name), None)
    refusals = []
    if choice.tier != "low_priority" and dedicated is not None and needed > dedicated.limit:
        refusals.append(f"dedicated: {dedicated.limit} vCPUs of {size.family}")
    if choice.tier != "dedicated" and low is not None and needed > low.limit:
        refusals.append(f"low priority: {low.limit} vCPUs")
    tiers = 2 if choice.tier == "dedicated_then_low_priority" else 1
    need = f"Cluster '{choice.name}' of {choice.max_nodes} x {choice.size} needs {needed} vCPUs"
    if len(refusals) == tiers:
        report.error(
            f"{need}; the quota is less ({'; '.join(refusals)}).",
            "Ask for quota, lower run.compute.max_nodes, or choose another size.",
        )
    elif refusals and refusals[0].startswith("dedicated"):
        report.warn(
            f"{need}; the quota is less ({refusals[0]}).",
            "It would be created with low-priority nodes, which may be pre-empted.",
        )
    elif dedicated is not None and choice.tier != "low_priority" and needed > dedicated.free:
        report.warn(
            f"{need}; {dedicated.used} of {dedicated.limit} of {size.family} are in use.",
            "The job may wait in the queue until others give nodes back.",
        )


def _judge_steps(choice: ComputeChoice, facts: ComputeFacts, report: Report) -> None:
    for step in ("model_import", "preprocess", "finetune", "model_evaluation"):
        found: StepCompute | None = getattr(choice.steps, step)
        place = f"run.compute.steps.{step}"
        if found is None or found.cluster == choice.name:
            continue
        if found.cluster == "serverless":
            if step != "finetune":  # the fine-tune's own size is judged with the model's card
                _judge_offered(found.instance_type or "", None, facts, place, report)
        elif found.cluster not in facts.clusters:
            report.error(
                f"Cluster '{found.cluster}' of {place} is not in the workspace.",
                "Create it, or choose 'serverless' with an instance_type.",
            )
        elif facts.clusters[found.cluster].state != READY:
            state = facts.clusters[found.cluster].state
            report.error(
                f"Cluster '{found.cluster}' of {place} is in state '{state}'.",
                "Wait until it is ready, or choose another.",
            )
