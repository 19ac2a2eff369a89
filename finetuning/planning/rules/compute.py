"""Whether the training's node will do: allow-list, GPUs, minimum spec, nodes, quota."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from finetuning.form.run import ComputeChoice
from finetuning.planning.facts import ClusterFacts, ComputeFacts, NodeSize
from finetuning.planning.findings import Report
from finetuning.planning.model_card import MinimumSpec, ModelCard
from finetuning.planning.prices import Nodes
from finetuning.planning.quotas import TOTAL, quota_of

#: Sizes with K80 cards, which no fine-tune component supports any more.
K80 = ("standard_nc6", "standard_nc12", "standard_nc24", "standard_nc24r")


#: Idle minutes beyond which an existing cluster's waiting is worth a word.
LONG_IDLE_MINUTES = 15


READY = "succeeded"
SIZE = "run.compute.size"


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
    if choice.uses_cluster and own is None:
        _check_new(choice, facts, nodes, report)
    elif choice.uses_cluster and own is not None:
        _check_existing(choice, own, nodes, report)
    _check_steps(choice, facts, report)
    place = "run.compute.steps.finetune" if choice.steps.finetune else "run.compute.size"
    check_training_size(nodes.size, card, facts, report, place)


@dataclass(frozen=True)
class SizeRule:
    """What a VM size must be for one purpose, and the parameter that chooses it."""

    doing: str
    parameter: str

    def check(
        self, name: str, allowed: Sequence[str] | None, facts: ComputeFacts, report: Report
    ) -> NodeSize | None:
        """Hold a size against allow-list and region; return it as the region lists it.

        An empty name is none that could be chosen, which has been said.
        """
        if not name:
            return None
        if allowed is not None and name.lower() not in [size.lower() for size in allowed]:
            report.error(
                f"VM size {name} is not allowed for {self.doing} this model. Allowed sizes: "
                f"{', '.join(allowed)}.",
                f"Choose one of them with {self.parameter}.",
            )
        if allowed is None and name.lower() in K80:
            report.error(
                f"VM size {name} has K80 cards, which are no longer supported.",
                f"Choose another with {self.parameter}.",
            )
        return self.check_offered(name, allowed, facts, report)

    def check_offered(
        self, name: str, allowed: Sequence[str] | None, facts: ComputeFacts, report: Report
    ) -> NodeSize | None:
        """Hold a size against those that the region offers."""
        size = facts.size(name)
        if size is None and facts.sizes:
            report.error(
                f"VM size {name} is not offered in this workspace's region.",
                f"Choose another with {self.parameter}: {', '.join(_gpu_sizes(facts, allowed))}.",
            )
        return size


def _gpu_sizes(facts: ComputeFacts, allowed: Sequence[str] | None) -> list[str]:
    wanted = {name.lower() for name in allowed} if allowed is not None else None
    return sorted(
        size.name
        for key, size in facts.sizes.items()
        if size.gpus and key not in K80 and (wanted is None or key in wanted)
    )


def check_training_size(
    name: str,
    card: ModelCard,
    facts: ComputeFacts,
    report: Report,
    parameter: str = SIZE,
) -> None:
    """Say what speaks against fine-tuning on nodes of a size."""
    rule = SizeRule("fine-tuning", parameter)
    size = rule.check(name, card.finetune_sizes, facts, report)
    if size is None:
        return
    if size.gpus == 0:
        report.error(
            f"VM size {size.name} has no GPU, and fine-tuning needs one.",
            "Choose another with run.compute.size.",
        )
    if card.finetune_minimum is not None:
        check_minimum(size, card.finetune_minimum, replace(rule, parameter=SIZE), report)


def check_minimum(size: NodeSize, minimum: MinimumSpec, rule: SizeRule, report: Report) -> None:
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
                f"VM size {size.name} has {has:g} {what}; {rule.doing} this model needs {needs:g}.",
                f"Choose a larger size with {rule.parameter}.",
            )


def check_state(cluster: ClusterFacts, report: Report) -> None:
    """Say whether an existing cluster is not ready."""
    if cluster.state != READY:
        reason = f": {cluster.reason}" if cluster.reason else ""
        report.error(
            f"Cluster '{cluster.name}' is in state '{cluster.state}'{reason}.",
            "Delete it, wait until it is ready, or choose another with run.compute.name.",
        )


def _check_existing(
    choice: ComputeChoice, found: ClusterFacts, nodes: Nodes, report: Report
) -> None:
    check_state(found, report)
    if found.size.lower() != choice.size.lower():
        report.warn(
            f"Cluster '{found.name}' already exists with size {found.size}, not {choice.size}.",
            "The run uses it as it is. For another size, choose another run.compute.name.",
        )
    if choice.steps.finetune is None:
        _check_node_count(found.max_nodes, nodes.count, f"Cluster '{found.name}'", report)
    if found.low_priority:
        _warn_of_preemption(f"Cluster '{found.name}' has", report)
    if found.idle_seconds is not None and found.idle_seconds > LONG_IDLE_MINUTES * 60:
        report.warn(
            f"Cluster '{found.name}' keeps an idle node for {found.idle_seconds / 60:.0f} minutes, "
            "which you pay for.",
            "Lower its idle time before scale-down in the studio.",
        )


def _check_node_count(most: int, wanted: int, who: str, report: Report) -> None:
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


def _check_new(choice: ComputeChoice, facts: ComputeFacts, nodes: Nodes, report: Report) -> None:
    if not choice.may_create:
        report.error(
            f"Cluster '{choice.name}' is not in the workspace, and the run may not create it.",
            "Create it, or set run.compute.may_create.",
        )
        return
    if choice.steps.finetune is None:
        _check_node_count(choice.max_nodes, nodes.count, f"Cluster '{choice.name}'", report)
    if choice.tier == "low_priority":
        _warn_of_preemption(f"Cluster '{choice.name}' would have", report)
    _check_quota(choice, facts, report)


def _check_quota(choice: ComputeChoice, facts: ComputeFacts, report: Report) -> None:
    size = facts.size(choice.size)
    if size is None or not facts.quotas:
        return
    needed = size.vcpus * choice.max_nodes
    dedicated = quota_of(facts.quotas, size.family)
    if dedicated is None and choice.tier != "low_priority":
        note_unmatched(size, report)
    refusals = _refused_tiers(choice, size, needed, facts)
    tiers = 2 if choice.tier == "dedicated_then_low_priority" else 1
    need = f"Cluster '{choice.name}' of {choice.max_nodes} x {choice.size} needs {needed} vCPUs"
    if len(refusals) == tiers:
        report.error(
            f"{need}; the quota is too small ({'; '.join(refusals)}).",
            "Request more quota, lower run.compute.max_nodes, or choose another size.",
        )
    elif refusals and refusals[0].startswith("dedicated"):
        report.warn(
            f"{need}; the quota is too small ({refusals[0]}).",
            "It would be created with low-priority nodes, which may be pre-empted.",
        )
    elif dedicated is not None and choice.tier != "low_priority" and needed > dedicated.free:
        report.warn(
            f"{need}; {dedicated.used} of {dedicated.limit} of {size.family} are in use.",
            "The job may have to wait until other jobs end.",
        )


def _refused_tiers(
    choice: ComputeChoice, size: NodeSize, needed: int, facts: ComputeFacts
) -> list[str]:
    """Return why each tier that the run would try has too small a quota."""
    dedicated, whole = quota_of(facts.quotas, size.family), facts.quotas.get(TOTAL)
    low = next((one for name, one in facts.quotas.items() if "lowpriority" in name), None)
    refusals = []
    if choice.tier != "low_priority" and dedicated is not None and needed > dedicated.limit:
        refusals.append(f"dedicated: {dedicated.limit} vCPUs of {size.family}")
    elif choice.tier != "low_priority" and whole is not None and needed > whole.limit:
        refusals.append(f"dedicated: {whole.limit} vCPUs of all families")
    if choice.tier != "dedicated" and low is not None and needed > low.limit:
        refusals.append(f"low priority: {low.limit} vCPUs")
    return refusals


def note_unmatched(size: NodeSize, report: Report) -> None:
    """Say that Azure lists no quota that can be the size's."""
    report.note(
        f"Azure lists no quota for {size.name} (family {size.family or 'unknown'}), so it was not "
        "checked.",
        "Check it in the studio before a large run.",
    )


def _check_steps(choice: ComputeChoice, facts: ComputeFacts, report: Report) -> None:
    for step, found in choice.steps.chosen().items():
        place = f"run.compute.steps.{step}"
        if found.cluster == choice.name:
            continue
        if found.cluster == "serverless":
            if step != "finetune":  # the fine-tune's own size is judged with the model's card
                rule = SizeRule("using", place)
                rule.check_offered(found.instance_type or "", None, facts, report)
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
