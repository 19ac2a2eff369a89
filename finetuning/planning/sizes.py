"""The sizes of nodes where the user names none: the first that the model's card recommends and that
can be had.

A card's recommended sizes come in its own order; a card without them has its allow-list. A size is
passed over that the region does not offer, for which there is no quota, or that retires soon.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from finetuning.form.run import ComputeChoice, EndpointChoice
from finetuning.planning.facts import ComputeFacts, NodeSize
from finetuning.planning.findings import Report
from finetuning.planning.lifecycle import Calendar
from finetuning.planning.model_card import ModelCard
from finetuning.planning.quotas import quota_of, reserved_instances

#: The cores of quota that a size takes for what it is to do.
Needs = Callable[[NodeSize], int]


@dataclass(frozen=True)
class Candidates:
    """The sizes that a card names for one purpose, and how many cores of quota one would take."""

    doing: str
    parameter: str
    recommended: tuple[str, ...] | None
    allowed: tuple[str, ...] | None
    needs: Needs

    @property
    def names(self) -> tuple[str, ...]:
        """Return them, the first to be tried first."""
        return self.recommended or self.allowed or ()

    @property
    def source(self) -> str:
        """Return in words whose list it is."""
        return "recommended by the model's card" if self.recommended else "of the card's allow-list"


def settle_compute(
    choice: ComputeChoice,
    facts: ComputeFacts,
    card: ModelCard,
    calendar: Calendar,
    report: Report,
) -> ComputeChoice:
    """Return the cluster's choice with a size, and with the tiers that there are."""
    settled = choice
    if not choice.size and not choice.candidates and choice.uses_cluster:
        found = facts.clusters.get(choice.name)
        candidates = Candidates(
            "Training",
            "run.compute.size",
            card.finetune_recommended,
            card.finetune_sizes,
            lambda size: size.vcpus * choice.max_nodes,
        )
        size = found.size if found else _pick(candidates, facts, calendar, report)
        settled = choice.model_copy(update={"size": size})
    return _with_tier(settled, facts, calendar, report)


def settle_endpoint(
    choice: EndpointChoice,
    facts: ComputeFacts,
    card: ModelCard,
    calendar: Calendar,
    report: Report,
) -> EndpointChoice:
    """Return the endpoint's choice with an instance type."""
    if choice.instance_type:
        return choice
    candidates = Candidates(
        "Serving",
        "run.endpoint.instance_type",
        card.inference_recommended,
        card.inference_sizes,
        lambda size: size.vcpus * reserved_instances(size.family, choice.instance_count),
    )
    size = _pick(candidates, facts, calendar, report)
    return choice.model_copy(update={"instance_type": size})


def _pick(candidates: Candidates, facts: ComputeFacts, calendar: Calendar, report: Report) -> str:
    """Return the first size that can be had; say why it is that one, or that there is none."""
    passed: list[str] = []
    for name in candidates.names:
        reason = next(_against(name, candidates.needs, facts, calendar), None)
        if reason is None:
            after = f" after {'; '.join(passed)}" if passed else ""
            report.note(
                f"{candidates.doing} is on {name}: the first size {candidates.source} that is "
                f"available{after}.",
                f"Another: {candidates.parameter}.",
            )
            return name
        passed.append(f"{name} ({reason})")
    why = f"is available: {'; '.join(passed)}" if passed else "is named by the model's card"
    report.error(
        f"{candidates.doing} needs a VM size, and none {why}.",
        f"Choose one with {candidates.parameter}, or ask for quota.",
    )
    return ""


def _against(name: str, needs: Needs, facts: ComputeFacts, calendar: Calendar) -> Iterator[str]:
    """Yield what speaks against a size."""
    size = facts.size(name)
    if size is None:
        if facts.sizes:
            yield "not offered in this region"
        return
    if ending := calendar.ends_soon(size.family):
        yield (
            f"retires on {ending.retires}"
            if not calendar.past(ending.retires)
            else (f"retired on {ending.retires}")
        )
    quota = quota_of(facts.quotas, size.family)
    if quota is not None and needs(size) > quota.limit:
        yield f"needs {needs(size)} vCPUs, the quota is {quota.limit}"


def _with_tier(
    choice: ComputeChoice, facts: ComputeFacts, calendar: Calendar, report: Report
) -> ComputeChoice:
    """Return the choice without low-priority nodes where there are no more of them."""
    ending = calendar.table.low_priority
    new = choice.uses_cluster and choice.name not in facts.clusters
    if choice.tier != "dedicated_then_low_priority" or not new or not calendar.past(ending.retires):
        return choice
    report.note(
        f"Low-priority nodes were retired on {ending.retires}: only dedicated ones are tried.",
    )
    return choice.model_copy(update={"tier": "dedicated"})
