"""When a training leads nowhere, and when it only looks like that."""

from __future__ import annotations

import math

import pytest
from pydantic import ValidationError

from finetuning.form.run import FineTune, HopelessChoice
from finetuning.training.curve import EVAL_LOSS, LOSS, Asked, Curve, Point
from finetuning.training.hopeless import last_values, signs


def curve(loss: list[float], evaluated: dict[int, float] | None = None, total: int = 20) -> Curve:
    """A training that logged these losses from step 1 on, and was evaluated at these steps."""
    points = {LOSS: [Point(n, value, float(n)) for n, value in enumerate(loss, 1)]}
    if evaluated:
        points[EVAL_LOSS] = [Point(n, value, n + 0.5) for n, value in evaluated.items()]
    return Curve.of(points, Asked(max_steps=total))


def kinds(seen: Curve, **limits: float) -> list[str]:
    return [sign.kind for sign in signs(seen, HopelessChoice.model_validate(limits))]


FALLING = [3.0 - n / 10 for n in range(20)]


def test_a_training_that_learns_is_not_hopeless() -> None:
    assert kinds(curve(FALLING, {5: 2.7, 10: 2.3, 15: 1.9})) == []


def test_a_training_that_has_said_nothing_is_not_hopeless() -> None:
    assert kinds(Curve()) == []


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_loss_that_is_no_number_is_hopeless_in_training_and_evaluation(value: float) -> None:
    assert kinds(curve([2.0, value])) == ["not_finite"]
    assert "not_finite" in kinds(curve([2.0, 1.9], {2: value}))


def test_a_loss_that_was_no_number_and_is_one_again_is_not_hopeless() -> None:
    assert kinds(curve([2.0, math.nan, 1.9])) == []


def test_an_evaluation_far_above_the_training_is_overfitting_by_the_stated_ratio() -> None:
    seen = curve([1.0] * 5 + [0.9] * 5, {10: 1.5})

    assert kinds(seen, evaluation_ratio=1.6) == ["overfitting"]
    assert kinds(seen, evaluation_ratio=1.7) == []


def test_an_evaluation_that_no_longer_falls_over_the_stated_share_has_stalled() -> None:
    seen = curve(FALLING, {4: 2.0, 8: 1.8, 12: 1.9, 16: 1.85, 20: 1.8}, total=20)

    assert kinds(seen, stalled_share=0.5, evaluation_ratio=9) == ["no_improvement"]
    assert kinds(seen, stalled_share=0.7, evaluation_ratio=9) == []


def test_without_evaluations_the_training_loss_says_whether_it_stalls() -> None:
    assert kinds(curve([2.0, 2.1, 1.9, 2.0, 2.1, 2.0, 2.0, 2.2]), stalled_share=0.2) == [
        "no_improvement"
    ]
    assert kinds(curve(FALLING), stalled_share=0.2) == []


def test_a_young_training_is_not_judged() -> None:
    assert kinds(curve([2.0, 2.5, 3.0]), stalled_share=0.1) == []


def test_the_last_values_are_said_with_their_steps() -> None:
    said = last_values(curve([2.0, 1.5], {2: 1.75}))

    assert said == "Last values, by step: loss 2 (1), 1.5 (2); evaluation loss 1.75 (2)."
    assert last_values(Curve()) == "It has logged no loss."


@pytest.mark.parametrize(
    "bad",
    [
        {"stop_when": ["boredom"]},
        {"stop_when": "not_finite"},
        {"hopeless": {"evaluation_ratio": 1}},
        {"hopeless": {"stalled_share": 1}},
        {"hopeless": {"stalled": 0.5}},
    ],
)
def test_limits_that_mean_nothing_are_refused(bad: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        FineTune.model_validate(bad)
