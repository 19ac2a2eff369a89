"""Why a job failed, and what may be done about it."""

from __future__ import annotations

import re
from pathlib import Path
from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from finetuning.form.run import FineTune, Scalar
from finetuning.training.causes import (
    ACCUMULATION,
    RESUME,
    ROWS,
    RULES,
    Attempted,
    Batch,
    Can,
    Cause,
    Evidence,
    classify,
    remedy,
)

EXITED = "UserError: Execution failed. User process 'python' exited with status code 1. Error: "
ALL = frozenset({RESUME, ROWS, ACCUMULATION})


def can(rows: int = 4, *, saved: bool = False, declared: frozenset[str] = ALL) -> Can:
    return Can(Batch(rows, 2), declared, saved)


def after(cause: Cause, **changes: Scalar) -> Attempted:
    return Attempted(cause, changes)


@pytest.mark.parametrize(
    ("error", "log", "cause"),
    [
        ("UserError: AzureMLCompute job failed. PreemptionError: Nodes got it.", "", "preempted"),
        (f"{EXITED}torch.OutOfMemoryError: CUDA out of memory.", "", "out of memory"),
        (f"{EXITED}ERROR: exit code 1", "x\ntorch.cuda.OutOfMemoryError: no\ny", "out of memory"),
        (f"{EXITED}ValueError: No valid checkpoint found in output directory (o)", "",
         "unreadable checkpoint"),
        ("ServiceError: AzureMLCompute job failed. OrchestrateJobError: no", "", "transient"),
        ("UserError: net/http: Client.Timeout exceeded while awaiting headers", "", "transient"),
        ("NotResponding", "", "node lost"),
        (f"{EXITED}Column 'messages' is missing in row 3.", "", "permanent"),
        ("UserError: AzureMLCompute job failed. FailedStartingContainerUserError: x", "",
         "permanent"),
        ("ImageBuildFailure: Image build failed.", "", "permanent"),
        ("DataAccessError: Input 'x' cannot be read.", "", "permanent"),
        ("", "", "permanent"),
    ],
)  # fmt: skip
def test_a_cause_is_known_by_the_services_words_or_the_log(
    error: str, log: str, cause: str
) -> None:
    pipeline = Evidence("UserError: Pipeline has failed child jobs.")

    assert classify([Evidence(error, log), pipeline]) == cause


def test_a_job_of_which_nothing_is_known_is_not_repeated() -> None:
    assert classify([]) == "permanent"


def test_a_program_that_prints_what_the_service_would_say_is_not_believed() -> None:
    said = "PreemptionError: so the training says; ServerBusy"

    assert classify([Evidence(f"{EXITED}no rows", said)]) == "permanent"


def test_a_node_that_was_lost_while_memory_was_short_was_lost() -> None:
    evidence = Evidence("UserError: PreemptionError", "CUDA out of memory")

    assert classify([evidence]) == "preempted"


def test_what_is_lost_goes_on_from_its_checkpoint_if_there_is_one() -> None:
    assert remedy([after("preempted")], can(saved=True)) == {RESUME: "true"}
    assert remedy([after("node lost")], can(saved=False)) == {}
    assert remedy([after("preempted")], can(saved=True, declared=frozenset())) == {}


def test_memory_that_is_out_halves_the_batch_twice_and_no_more() -> None:
    first = remedy([after("out of memory")], can(8))
    assert first == {ROWS: 4, ACCUMULATION: 4}

    second = remedy([after("out of memory"), after("out of memory", **first)], can(8))
    assert second == {ROWS: 2, ACCUMULATION: 8}

    third = [after("out of memory"), after("out of memory", **first),
             after("out of memory", **second)]  # fmt: skip
    assert remedy(third, can(8)) is None


def test_a_batch_of_one_row_cannot_be_halved() -> None:
    assert remedy([after("out of memory")], can(1)) is None


def test_a_component_without_these_inputs_is_not_given_them() -> None:
    assert remedy([after("out of memory")], can(8, declared=frozenset({RESUME}))) is None


@given(st.integers(1, 512), st.integers(1, 64))
def test_a_smaller_batch_learns_from_as_many_rows_at_a_time(rows: int, accumulation: int) -> None:
    smaller = Batch(rows, accumulation).smaller()

    assert (smaller is None) == (rows == 1)
    if smaller is not None:
        assert smaller.rows <= rows / 2
        assert smaller.rows * smaller.accumulation == rows * accumulation


def test_what_an_earlier_attempt_changed_stays_changed() -> None:
    attempts = [after("out of memory"), after("preempted", **{ROWS: 2, ACCUMULATION: 4})]

    assert remedy(attempts, can(saved=True)) == {ROWS: 2, ACCUMULATION: 4, RESUME: "true"}


def test_a_checkpoint_that_cannot_be_read_is_left_and_only_once() -> None:
    again = remedy([after("preempted"), after("unreadable checkpoint", **{RESUME: "true"})], can())
    assert again == {RESUME: "false"}

    assert remedy([after("unreadable checkpoint", **{RESUME: "false"})], can()) is None


def test_what_is_transient_is_the_same_again_and_what_is_permanent_is_nothing() -> None:
    assert remedy([after("transient")], can()) == {}
    assert remedy([after("permanent")], can(saved=True)) is None


def test_every_rule_has_a_source_and_stands_in_the_table_of_the_documents() -> None:
    page = (Path(__file__).parents[3] / "docs" / "watching.md").read_text(encoding="utf-8")

    assert {rule.cause for rule in RULES} <= set(get_args(Cause))
    for rule in RULES:
        assert rule.source
        assert f"| {rule.cause} |" in page
        re.compile(rule.pattern)


@pytest.mark.parametrize(
    "bad",
    [
        {"max_attempts": 0},
        {"max_attempts": 21},
        {"max_lost_minutes": 0},
        {"pause_seconds": -1},
        {"attempts": 3},
    ],
)
def test_a_recovery_that_means_nothing_is_refused(bad: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        FineTune.model_validate({"recovery": bad})
