"""What ``make rollout`` takes for wrong."""

from __future__ import annotations

from typing import Any

import pytest

from benchmarks.rollout import VERDICTS, problems, text

GOOD: dict[str, Any] = {
    "requests": 255,
    "failed": 1,
    "failed_by_the_crash": 1,
    "promoted": True,
    "returned": True,
    "return_seconds": 2.5,
    "verdicts": VERDICTS,
    "deployments_left": ["green"],
}


def test_a_rollout_as_it_should_be_has_no_problem_and_is_told_in_figures() -> None:
    assert problems(GOOD) == []
    told = text(GOOD, [], 180)
    assert "requests sent     255" in told and "all traffic again: 2.5" in told


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"promoted": False}, "better model does not have"),
        ({"returned": False}, "did not go back"),
        ({"return_seconds": 31.0}, "after 31.0 s only"),
        ({"return_seconds": float("nan")}, "was not measured"),
        ({"failed": 3}, "2 other requests failed"),
        ({"verdicts": {**VERDICTS, "worse": "promote"}}, "worse model's verdict is promote"),
        ({"error": "the flows' process died"}, "process died"),
    ],
)
def test_what_is_wrong_is_said(wrong: dict[str, Any], said: str) -> None:
    (told,) = problems({**GOOD, **wrong})

    assert said in told
