"""What is said of a training while it goes on: one line, and a page of markdown."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from finetuning.training.curve import EVAL_LOSS, LOSS, RATE, Curve

ENDED = ("Completed", "Failed", "Canceled")


class StepState(NamedTuple):
    """A step of the pipeline and its status, as the run history shows them."""

    name: str
    status: str


@dataclass(frozen=True)
class Seen:
    """A job as it was seen at one look."""

    steps: tuple[StepState, ...]
    curve: Curve


@dataclass(frozen=True)
class Money:
    """What a run has spent and is expected to cost in all; None where that is not known."""

    currency: str
    spent: float | None = None
    expected: float | None = None
    budget: float | None = None


def headline(seen: Seen) -> str:
    """Return where the job is, in one line; the same as long as nothing has changed."""
    parts = [_pipeline(seen.steps)]
    curve = seen.curve
    if curve.step:
        parts.append(f"step {curve.step}" + (f" of {curve.total}" if curve.total else ""))
    for name, metric in (("loss", LOSS), ("evaluation loss", EVAL_LOSS)):
        value = curve.last(metric)
        if value is not None:
            parts.append(f"{name} {value:.4g}")
    if curve.left is not None and curve.left.seconds > 0:
        parts.append(f"{duration(curve.left.seconds)} left")
    return " · ".join(parts)


def _pipeline(steps: Sequence[StepState]) -> str:
    if not steps:
        return "queued"
    open_ = [f"{one.name} {one.status}" for one in steps if one.status not in ENDED]
    bad = [f"{one.name} {one.status}" for one in steps if one.status in ("Failed", "Canceled")]
    done = sum(one.status == "Completed" for one in steps)
    return ", ".join([f"{done} of {len(steps)} steps completed", *bad, *open_])


def page(job: str, link: str, seen: Seen, money: Money, rows_per_step: int, picture: str) -> str:
    """Return the artifact's markdown: the picture, the numbers, the pipeline's steps."""
    shown = f"[{job}]({link})" if link else f"`{job}`"
    parts = [f"{shown}: {headline(seen)}"]
    if picture:
        parts.append(f"![Loss by step]({picture})")
    rows = [*_numbers(seen.curve, rows_per_step), *_money(money)]
    if rows:
        parts.append(_table(("what", "value"), rows))
    if seen.steps:
        parts.append(_table(("step of the pipeline", "status"), seen.steps))
    return "\n\n".join(parts)


def _numbers(curve: Curve, rows_per_step: int) -> list[tuple[str, str]]:
    if not curve.step:
        return []
    rows = [("step", f"{curve.step} of {curve.total or 'an unknown number'}")]
    for name, metric in (
        ("training loss", LOSS),
        ("evaluation loss", EVAL_LOSS),
        ("learning rate", RATE),
    ):
        value = curve.last(metric)
        if value is not None:
            rows.append((name, f"{value:.4g}"))
    if each := curve.seconds_per_step:
        rows.append(("rows a second", f"{rows_per_step / each:.3g} ({each:.3g} s a step)"))
    if (left := curve.left) is not None and left.seconds > 0:
        rows.append(("time left", f"{duration(left.seconds)} ± {duration(left.give)}"))
    return rows


def _money(money: Money) -> list[tuple[str, str]]:
    rows = []
    if money.spent is not None:
        limit = f", of a budget of {money.budget:.2f}" if money.budget is not None else ""
        rows.append(("spent", f"{money.spent:.2f} {money.currency}{limit}"))
    if money.expected is not None:
        rows.append(("expected cost of the run", f"{money.expected:.2f} {money.currency}"))
    return rows


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def duration(seconds: float) -> str:
    """Return a time in the unit in which people say it: 40 s, 12 min, 3.5 h."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
