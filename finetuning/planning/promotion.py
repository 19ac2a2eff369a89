"""What is promoted where, by which steps, and by which rules a step is passed."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict

from finetuning.azure.product import Product
from finetuning.evaluation.suites import Row, Suite
from finetuning.form.promotion import Promoted, Rollout, StepReport, When
from finetuning.form.results import RegisteredModel
from finetuning.form.run import EndpointChoice
from finetuning.form.verdict import Verdict
from finetuning.planning.plan import Serving
from finetuning.planning.prices import Nodes

#: Seconds of latency that nobody minds, whatever the old deployment's p95.
SLACK_S = 0.2


class Target(BaseModel):
    """What is promoted where: the model, how it is deployed, by which steps, and what is asked."""

    model_config = ConfigDict(frozen=True)

    endpoint: str
    model: RegisteredModel
    choice: EndpointChoice
    rules: Rollout
    recipe: str
    probes: Suite

    @property
    def rows(self) -> list[Row]:
        """Return the questions that each step asks."""
        return self.probes.rows[: self.rules.probe_rows]

    @property
    def sampling(self) -> dict[str, int | float | bool]:
        """Return the parameters of a probe: always the likeliest token."""
        longest = self.rules.max_new_tokens
        return {"temperature": 0.0, "top_p": 1.0, "do_sample": False, "max_new_tokens": longest}

    def serving(self, deployment: str) -> Serving:
        """Return the deployment of this name, as it is to be made."""
        choice = self.choice.model_copy(update={"deployment": deployment})
        nodes = Nodes(size=choice.instance_type, count=choice.instance_count)
        return Serving(endpoint=self.endpoint, choice=choice, nodes=nodes)

    def outcome(self, **values: Any) -> Promoted:
        """Return how the promotion of this ended."""
        model = {"model": self.model.name, "version": self.model.version}
        return Promoted(endpoint=self.endpoint, **model, **values)


class Stage(BaseModel):
    """One step: how much of the traffic the candidate takes, or has mirrored to it (percent)."""

    model_config = ConfigDict(frozen=True)

    name: str
    percent: int = 0
    mirrored: int = 0


def stages(rules: Rollout, *, first: bool) -> list[Stage]:
    """Return the steps of a promotion; the first model just serves."""
    alone = Stage(name="no traffic")
    if first:
        return [alone]
    mirror = rules.mirror_percent
    shadow = [Stage(name=f"{mirror} % mirrored", mirrored=mirror)] if mirror else []
    return [alone, *shadow, *(Stage(name=f"{one} %", percent=one) for one in rules.steps)]


def may_promote(when: When, verdict: Verdict | None, product: Product | None) -> bool:
    """Return whether a run's verdict lets its model take the traffic, or lets a person be asked.

    The first model of all has nobody to be better than: it serves if nothing speaks against it.
    """
    decision = verdict.decision if verdict is not None else "hold"
    if when == "ask":
        return decision != "refuse"
    first = verdict is not None and not verdict.champion.id
    serves = product is not None and bool(product.serving)
    return decision == "promote" or (first and not serves and decision == "hold")


def fault_of(report: StepReport, rules: Rollout) -> str | None:
    """Return why a candidate may not go on after a step; None where it may."""
    ours, old = report.candidate, report.old
    if ours.error_rate > rules.max_error_rate:
        return f"{ours.failed} of {ours.asked} probes failed."
    if old is None or old.failed == old.asked:  # nothing to compare with
        return None
    slowest = max(rules.max_slowdown * old.p95, old.p95 + SLACK_S)
    if ours.p95 > slowest:
        return f"its p95 latency is {ours.p95:.2f} s, the old one's {old.p95:.2f} s."
    if ours.score < old.score - rules.max_drop:
        return f"the probes score {ours.score:.3f}, the old one's {old.score:.3f}."
    return None
