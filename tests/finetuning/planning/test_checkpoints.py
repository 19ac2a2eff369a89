"""How far checkpoints are apart: from the steps and from what may be lost."""

from __future__ import annotations

from datetime import date

import pytest
from hypothesis import given
from hypothesis import strategies as st

from finetuning.planning.checkpoints import (
    INTERVAL,
    SHARE,
    STRATEGY,
    Training,
    is_left_open,
    steps_between,
    trained,
    with_checkpoints,
)
from finetuning.planning.parameters import Origin, Parameter, Settled
from finetuning.planning.prices import CostLine, Estimate


def settled(origin: Origin = "component") -> Settled:
    return Settled(
        parameters=[
            Parameter(name=STRATEGY, value="epoch", origin=origin),
            Parameter(name=INTERVAL, value=500, origin="component"),
            Parameter(name=SHARE, value=0.0, origin="component"),
        ],
        findings=[],
    )


def estimated(hours: float, steps: int = 100) -> Estimate:
    line = CostLine(what="training", size="s", node_hours=hours, per_hour=1, cost=hours)
    return Estimate(
        currency="EUR", lines=[line], tokens=900, steps=steps, source="s", date=date(2026, 1, 1)
    )


def test_no_more_is_lost_than_is_allowed() -> None:
    ten_seconds_a_step = Training(steps=1000, seconds=10_000, tokens=1, test_tokens=0)

    assert steps_between(ten_seconds_a_step, 5) == 30


@given(st.integers(1, 10_000), st.floats(0, 1e6), st.floats(0.01, 1e4))
def test_a_run_however_short_reaches_its_checkpoint(
    steps: int, seconds: float, minutes: float
) -> None:
    every = steps_between(Training(steps, seconds, 1, 0), minutes)

    assert 1 <= every <= max(1, steps // 2)
    if every > 1:
        assert every * seconds / steps <= minutes * 60 + 1e-6


def test_what_somebody_has_said_is_left_alone() -> None:
    assert is_left_open(settled())
    assert not is_left_open(settled("user"))
    assert not is_left_open(settled("model card"))
    assert not is_left_open(Settled(parameters=[], findings=[]))  # the component has no such inputs


def test_the_interval_is_submitted_and_its_cost_is_said() -> None:
    known = trained(estimated(hours=3.0), nodes=2, overhead_hours=0.5, test_tokens=270)
    assert known is not None and known.seconds == pytest.approx(3600)

    found = with_checkpoints(settled(), known, max_lost_minutes=6)

    assert found.to_submit == {STRATEGY: "steps", INTERVAL: 10}
    (note,) = found.findings
    assert note.level == "note"
    assert "every 10 steps (about 6 min): 10 evaluations, 100% more" in note.what


def test_without_an_estimate_of_the_training_nothing_is_worked_out() -> None:
    assert trained(None, 1, 0, 0) is None
    assert trained(estimated(1).model_copy(update={"lines": []}), 1, 0, 0) is None
