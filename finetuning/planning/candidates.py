"""The size of a new cluster out of several that the user allows: the cheapest that can be had."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from finetuning.planning.facts import ComputeFacts, Fact, NodeSize
from finetuning.planning.findings import Report
from finetuning.planning.lifecycle import Calendar
from finetuning.planning.model_card import ModelCard
from finetuning.planning.quotas import quota_of


class Candidate(Fact):
    """A size, what is known of it, and why it is not taken; an empty ``against``: it could be."""

    size: str
    allowed: bool | None
    offered: bool | None
    quota_free: int | None
    retires: str
    per_hour: float | None
    hours: float | None
    against: str

    @property
    def total(self) -> float | None:
        """Return what the training costs on one node of it."""
        known = self.per_hour is not None and self.hours is not None
        return self.per_hour * self.hours if known else None  # type: ignore[operator]


@dataclass(frozen=True)
class Known:
    """What candidates are held against; ``price`` gives an hour's price, and the training's hours.

    ``nodes``: how many the cluster may have.
    """

    facts: ComputeFacts
    card: ModelCard
    calendar: Calendar
    nodes: int
    price: Callable[[str], tuple[float | None, float | None]]

    def judge(self, name: str) -> Candidate:
        """Return what is known of a size."""
        size, allow_list = self.facts.size(name), self.card.finetune_sizes
        allowed = None if allow_list is None else name.lower() in [n.lower() for n in allow_list]
        offered = size is not None if self.facts.sizes else None
        quota = quota_of(self.facts.quotas, size.family) if size else None
        ending = self.calendar.ends_soon(size.family) if size else None
        per_hour, hours = self.price(name)
        return Candidate(
            size=size.name if size else name,
            allowed=allowed,
            offered=offered,
            quota_free=quota.free if quota else None,
            retires=str(ending.retires) if ending else "",
            per_hour=per_hour,
            hours=hours,
            against=self._against(size, allowed, offered, quota.limit if quota else None)
            or (f"retires on {ending.retires}" if ending else ""),
        )

    def _against(
        self, size: NodeSize | None, allowed: bool | None, offered: bool | None, limit: int | None
    ) -> str:
        if allowed is False:
            return "not on the allow-list of the model's card"
        if offered is False:
            return "not offered in this region"
        if size is None:
            return ""
        if size.gpus == 0:
            return "has no GPU"
        needed = size.vcpus * self.nodes
        if limit is not None and needed > limit:
            return f"needs {needed} vCPUs, the quota is {limit}"
        return ""


def cheapest(names: Sequence[str], known: Known, report: Report) -> tuple[str, list[Candidate]]:
    """Return the cheapest size that can be had, and what is known of all of them.

    What has no price comes after what has one; among equals the user's order counts. An empty size,
    where none can be had: that is said.
    """
    judged = [known.judge(name) for name in dict.fromkeys(names)]
    able = [one for one in judged if not one.against]
    if not able:
        why = "; ".join(f"{one.size}: {one.against}" for one in judged)
        report.error(
            f"None of run.compute.candidates can be had: {why}.",
            "Name others, or ask for quota.",
        )
        return "", judged
    best = min(able, key=_cost)
    said = f"{best.total:.2f} for the training" if best.total is not None else "its price unknown"
    report.note(
        f"Training is on {best.size}: the cheapest of {len(able)} candidates that can be had, "
        f"{said}.",
        "Another: run.compute.size.",
    )
    return best.size, judged


def _cost(one: Candidate) -> tuple[float, float]:
    each = math.inf if one.per_hour is None else one.per_hour
    return (math.inf if one.total is None else one.total, each)
