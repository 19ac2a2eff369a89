"""When a training leads nowhere: pure rules over its curve."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from statistics import fmean
from typing import NamedTuple

from finetuning.form.run import Hopeless, HopelessChoice
from finetuning.training.curve import EVAL_LOSS, LOSS, Curve, Point

#: So many logged training losses are averaged: a single one says little.
AVERAGED = 5
#: Fewer points on either side say nothing about whether the training loss still falls.
LEAST = 3


class Sign(NamedTuple):
    """Why a training is hopeless, and the numbers that say so."""

    kind: Hopeless
    what: str


def signs(curve: Curve, limits: HopelessChoice) -> list[Sign]:
    """Return why a training is hopeless; nothing where it is not, or too young to tell."""
    return [*_not_finite(curve), *_overfitting(curve, limits), *_no_improvement(curve, limits)]


def _not_finite(curve: Curve) -> Iterator[Sign]:
    """transformers averages a training loss that is no number away (``logging_nan_inf_filter``).

    Then the evaluation's shows it.
    """
    for name, metric in (("training", LOSS), ("evaluation", EVAL_LOSS)):
        for point in curve.points.get(metric, ())[-1:]:
            if not math.isfinite(point.value):
                yield Sign("not_finite", f"the {name} loss is {point.value} at step {point.step}.")


def _overfitting(curve: Curve, limits: HopelessChoice) -> Iterator[Sign]:
    for checked in curve.points.get(EVAL_LOSS, ())[-1:]:
        before = [one.value for one in curve.points.get(LOSS, ()) if one.step <= checked.step]
        if not before:
            continue
        trained = fmean(before[-AVERAGED:])
        if trained > 0 and checked.value > limits.evaluation_ratio * trained:
            yield Sign(
                "overfitting",
                f"at step {checked.step} the evaluation loss {checked.value:.4g} is more than "
                f"{limits.evaluation_ratio:g} times the training loss {trained:.4g}.",
            )


def _no_improvement(curve: Curve, limits: HopelessChoice) -> Iterator[Sign]:
    if curve.total is None:
        return
    since = curve.step - limits.stalled_share * curve.total
    evaluated, trained = curve.points.get(EVAL_LOSS, ()), curve.points.get(LOSS, ())
    if len(evaluated) > 1:
        before, after = _parted(evaluated, since)
        stalled = bool(before and after) and min(after) >= min(before)
        what = "evaluation loss"
    else:
        before, after = _parted(trained, since)
        stalled = min(len(before), len(after)) >= LEAST and fmean(after) >= fmean(before)
        what = "training loss"
    if stalled:
        yield Sign(
            "no_improvement",
            f"the {what} has not fallen over the last {curve.step - max(since, 0):.0f} of "
            f"{curve.total} steps (before: {min(before):.4g} at best, since: {min(after):.4g}).",
        )


def _parted(points: Sequence[Point], since: float) -> tuple[list[float], list[float]]:
    """Return the finite values up to a step, and those after it."""
    known = [one for one in points if math.isfinite(one.value)]
    before = [one.value for one in known if one.step <= since]
    return before, [one.value for one in known if one.step > since]


def last_values(curve: Curve, most: int = 5) -> str:
    """Return the curve's last points as words, for an error."""
    said = []
    for name, metric in (("loss", LOSS), ("evaluation loss", EVAL_LOSS)):
        points = curve.points.get(metric, ())[-most:]
        if points:
            values = ", ".join(f"{one.value:.4g} ({one.step})" for one in points)
            said.append(f"{name} {values}")
    return f"Last values, by step: {'; '.join(said)}." if said else "It has logged no loss."
