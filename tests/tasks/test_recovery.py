"""What the attempts say of themselves, and what another one is made of."""

from __future__ import annotations

import json
from types import SimpleNamespace
from typing import Any

import pytest

from finetuning.azure.ownership import CAUSE_TAG, CHANGES_TAG
from finetuning.training.causes import Attempted
from tasks.attempts import changes_of
from tasks.recovery import earlier_attempts


def job(name: str, cause: str = "", **changes: Any) -> Any:
    """An attempt with the tags that a remedy leaves."""
    tags = {CAUSE_TAG: cause, CHANGES_TAG: json.dumps(changes)} if cause else {}
    return SimpleNamespace(name=name, tags=tags)


def test_the_cause_of_an_attempt_is_written_on_its_successor() -> None:
    attempts = [
        job("j"),
        job("j-2", "transient"),
        job("j-3", "out of memory", per_device_train_batch_size=2),
    ]

    assert earlier_attempts(attempts) == [
        Attempted("transient", {}),
        Attempted("out of memory", {}),
    ]


def test_a_first_attempt_has_none_before_it() -> None:
    assert earlier_attempts([job("j")]) == []


def test_an_attempt_of_which_nobody_wrote_why_counts_as_permanent() -> None:
    (found,) = earlier_attempts([job("j"), job("j-2")])

    assert found.cause == "permanent"


@pytest.mark.parametrize("tag", ["no JSON", "[1]", "null", ""])
def test_a_tag_that_somebody_else_wrote_changes_nothing(tag: str) -> None:
    assert changes_of(SimpleNamespace(tags={CHANGES_TAG: tag})) == {}
    assert changes_of(SimpleNamespace(tags=None)) == {}
