"""What counts as lost where a training was taken up again."""

from __future__ import annotations

import pytest

from benchmarks.goodput import Kept, Logged, kept


def logged(first: int, last: int, began: float) -> list[Logged]:
    """A step in two seconds each."""
    return [Logged(step, began + 2.0 * (step - first)) for step in range(first, last + 1)]


def test_an_undisturbed_training_loses_nothing() -> None:
    found = kept([logged(1, 10, 0.0)])

    assert found == Kept(steps=10, lost_steps=0, seconds=18.0, lost_seconds=0.0)
    assert found.goodput == 1.0


def test_steps_that_are_taken_once_more_were_lost() -> None:
    found = kept([logged(1, 8, 0.0), logged(6, 10, 100.0)])

    assert (found.steps, found.lost_steps) == (13, 3)
    assert found.lost_seconds == 6.0
    assert found.goodput == pytest.approx(1 - 6 / 22)


def test_an_attempt_that_logged_nothing_hides_no_loss() -> None:
    found = kept([logged(1, 8, 0.0), [], logged(1, 10, 100.0)])

    assert (found.steps, found.lost_steps) == (18, 8)


def test_a_run_that_trained_nothing_has_no_goodput() -> None:
    assert kept([[]]).goodput == 0.0
