"""The curve of a training that goes on: what it has logged so far, and how long it will yet take.

Pure: whoever calls it brings the points. How far a training is follows from what it says itself
(step and epoch), for a plan knows its rows, not what a step of the service makes of them.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from itertools import pairwise
from typing import NamedTuple

#: What a fine-tune logs by step that is worth reading while it goes on. The names are those of
#: transformers' Trainer, whose callback for MLflow the published component uses.
LOSS, EVAL_LOSS, RATE, EPOCH = "loss", "eval_loss", "learning_rate", "epoch"
CURVES = (LOSS, EVAL_LOSS, RATE, EPOCH)
#: Intervals between logged steps from which the pace follows: older ones may have been another's.
RECENT = 50
#: How many standard deviations the stated uncertainty has: 95 % of what is normally distributed.
SPREAD = 1.96


class Point(NamedTuple):
    """A value that was logged at a step; ``time`` in unix seconds."""

    step: int
    value: float
    time: float


@dataclass(frozen=True)
class Asked:
    """How long a training was asked to be; ``max_steps`` below 1: so many epochs."""

    epochs: int = 1
    max_steps: int = -1

    @classmethod
    def of(cls, parameters: Mapping[str, object]) -> Asked:
        """Return what a job's parameters ask for."""
        return cls(
            _whole(parameters.get("num_train_epochs"), 1), _whole(parameters.get("max_steps"), -1)
        )


def _whole(value: object, default: int) -> int:
    try:
        return int(str(value))
    except ValueError:
        return default


class Left(NamedTuple):
    """How long a training will yet take in seconds, and how far that may be off, at 95 %."""

    seconds: float
    give: float


@dataclass(frozen=True)
class Curve:
    """What a training has logged so far, by metric and in the order of its steps."""

    points: Mapping[str, tuple[Point, ...]] = field(default_factory=dict)
    asked: Asked = Asked()

    @classmethod
    def of(cls, logged: Mapping[str, Iterable[Point]], asked: Asked) -> Curve:
        """Return the curve of what was logged; what a restart of the training undid is left out."""
        return cls({name: _undone_left_out(points) for name, points in logged.items()}, asked)

    def last(self, metric: str) -> float | None:
        """Return the last value of a metric; None before there is one."""
        points = self.points.get(metric)
        return points[-1].value if points else None

    @property
    def step(self) -> int:
        """Return the newest step that logged something; 0 before there is one."""
        return max((points[-1].step for points in self.points.values() if points), default=0)

    @property
    def total(self) -> int | None:
        """Return how many steps it will take; None before the training says enough."""
        if self.asked.max_steps > 0:
            return self.asked.max_steps
        told = [one for one in self.points.get(EPOCH, ()) if one.value > 0 and one.step > 0]
        if not told:
            return None
        return max(self.step, round(told[-1].step / told[-1].value * self.asked.epochs))

    @property
    def share(self) -> float | None:
        """Return how much of the training is done, from 0 to 1; None where that is not known."""
        total = self.total
        return None if not total else min(1.0, self.step / total)

    @property
    def seconds_per_step(self) -> float | None:
        """Return how long a step has taken of late, evaluations among them."""
        paces = self._paces()
        steps = sum(one.steps for one in paces)
        return sum(one.seconds for one in paces) / steps if steps else None

    @property
    def left(self) -> Left | None:
        """Return how long it will yet take; None before two intervals say how much that varies."""
        paces, total, each = self._paces(), self.total, self.seconds_per_step
        if total is None or each is None or len(paces) < 2:
            return None
        steps = sum(one.steps for one in paces)
        spread = sum(one.steps * (one.seconds / one.steps - each) ** 2 for one in paces) / steps
        deviation = math.sqrt(spread * len(paces) / (len(paces) - 1))
        rest = max(0, total - self.step)
        intervals = rest * len(paces) / steps  # as many as are still to come
        mean_off = rest * deviation / math.sqrt(len(paces))
        rest_off = deviation * rest / math.sqrt(intervals) if intervals > 0 else 0.0
        return Left(rest * each, SPREAD * math.hypot(mean_off, rest_off))

    def _paces(self) -> list[_Pace]:
        times = [(one.step, one.time) for one in self.points.get(LOSS, ())][-RECENT - 1 :]
        paces = [_Pace(b[0] - a[0], b[1] - a[1]) for a, b in pairwise(times)]
        return [one for one in paces if one.steps > 0 and one.seconds >= 0]


class _Pace(NamedTuple):
    """An interval between two steps that logged."""

    steps: int
    seconds: float


def _undone_left_out(logged: Iterable[Point]) -> tuple[Point, ...]:
    """Return the points by step, of each step the newest.

    A training that began again from a checkpoint takes some of its steps once more.
    """
    kept: list[Point] = []
    for point in sorted(logged, key=lambda one: (one.time, one.step)):
        while kept and kept[-1].step >= point.step:
            kept.pop()
        kept.append(point)
    return tuple(kept)
