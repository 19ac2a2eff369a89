"""By which rules a model may take traffic, and a step is passed."""

from __future__ import annotations

from typing import Any

import pytest

from finetuning.azure.product import Product
from finetuning.form.promotion import Rollout, StepReport, Watched, When
from finetuning.form.verdict import Contender, Decision, Verdict
from finetuning.planning.promotion import fault_of, may_promote, stages

RULES = Rollout()
GOOD = Watched(asked=20, failed=0, p95=1.0, score=0.8)


def report(old: Watched | None = GOOD, **ours: Any) -> StepReport:
    candidate = GOOD.model_copy(update=ours)
    return StepReport(step="10 %", percent=10, candidate=candidate, old=old)


def test_a_candidate_like_the_old_one_passes() -> None:
    assert fault_of(report(), RULES) is None
    assert fault_of(report(old=None), RULES) is None


@pytest.mark.parametrize(
    ("ours", "why"),
    [
        ({"failed": 1}, "1 of 20 probes failed"),
        ({"p95": 1.6}, "p95 latency is 1.60 s"),
        ({"score": 0.7}, "score 0.700"),
    ],
)
def test_one_that_fails_is_slower_or_worse_does_not(ours: dict[str, Any], why: str) -> None:
    found = fault_of(report(**ours), RULES)

    assert found is not None and why in found


def test_latency_that_nobody_notices_does_not_count() -> None:
    old = GOOD.model_copy(update={"p95": 0.01})

    assert fault_of(report(old=old, p95=0.15), RULES) is None


def test_an_old_one_that_answers_nothing_is_nothing_to_compare_with() -> None:
    dead = Watched(asked=20, failed=20)

    assert fault_of(report(old=dead), RULES) is None


def test_the_steps_follow_from_the_rules() -> None:
    mirrored = Rollout(mirror_percent=20, steps=[50, 100])

    assert [one.name for one in stages(RULES, first=False)] == [
        "no traffic", "10 %", "50 %", "100 %",
    ]  # fmt: skip
    assert [one.name for one in stages(mirrored, first=False)] == [
        "no traffic", "20 % mirrored", "50 %", "100 %",
    ]  # fmt: skip
    assert [one.name for one in stages(mirrored, first=True)] == ["no traffic"]


def verdict(decision: Decision, champion: str = "1") -> Verdict:
    ours = Contender(id="2", name="m", version="2", role="candidate")
    theirs = Contender(id=champion, name="m", version="1", role="champion")
    return Verdict(
        decision=decision, why="", candidate=ours, champion=theirs, confidence=0.95, suites=[]
    )


SERVED = Product(name="shop", serving="blue")


@pytest.mark.parametrize(
    ("when", "judged", "product", "may"),
    [
        ("if_better", verdict("promote"), SERVED, True),
        ("if_better", verdict("hold"), SERVED, False),
        ("if_better", verdict("refuse"), SERVED, False),
        ("if_better", verdict("hold", champion=""), None, True),
        ("if_better", verdict("hold", champion=""), SERVED, False),
        ("if_better", verdict("hold"), None, False),
        ("if_better", verdict("refuse", champion=""), None, False),
        ("ask", verdict("hold"), SERVED, True),
        ("ask", verdict("refuse"), SERVED, False),
        ("ask", None, SERVED, True),
    ],
)
def test_only_what_its_verdict_lets_may_take_traffic(
    when: When, judged: Verdict | None, product: Product | None, may: bool
) -> None:
    assert may_promote(when, judged, product) is may
