"""Names: functions of the run, within Azure's rules."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from finetuning.azure import naming, ownership

#: A model's name, as Azure's documentation of asset names says it.
MODEL_RULE = r"[a-zA-Z0-9][a-zA-Z0-9._-]{0,254}"


texts = st.text(min_size=1, max_size=200)


@given(texts, st.none() | texts, st.from_regex(MODEL_RULE, fullmatch=True), texts)
def test_every_name_is_within_azures_rules(
    run: str, chosen: str | None, model: str, data: str
) -> None:
    key = naming.run_key(run, chosen)

    endpoint = naming.endpoint_name(key, data)
    assert naming.ENDPOINT_RULE.match(endpoint)
    assert len(endpoint) <= 32 and endpoint.endswith(key)
    assert re.fullmatch(MODEL_RULE, naming.registered_model_name(model, data))
    assert re.fullmatch(r"[a-zA-Z0-9_-]{1,255}", naming.job_name(key))
    assert re.fullmatch(r"[a-zA-Z0-9][a-zA-Z0-9._-]{0,29}", naming.model_version(key))


@given(texts, st.integers(2, 10_000))
def test_every_attempts_name_is_within_azures_rules_and_says_whose_it_is(
    run: str, number: int
) -> None:
    first = naming.job_name(naming.run_key(run))
    names = naming.attempts_until(f"{first}-{number}")

    assert len(names) == len(set(names)) == number
    assert names[0] == first and names[1] == naming.next_attempt(first) == f"{first}-2"
    assert naming.next_attempt(names[-2]) == names[-1]
    assert all(re.fullmatch(r"[a-zA-Z0-9_-]{1,255}", name) for name in names[-2:])
    assert naming.first_attempt(names[-1]) == naming.first_attempt(first) == first
    assert naming.attempt_number(names[-1]) == number and naming.attempt_number(first) == 1


@pytest.mark.parametrize(
    "name", ["fine-tune-0123456789-1", "fine-tune-0123456789-02", "a-job-2", "fine-tune-0123-2", ""]
)
def test_what_is_no_attempts_name_is_a_job_of_its_own(name: str) -> None:
    assert naming.first_attempt(name) == name
    assert naming.attempts_until(name) == [name]


@given(st.uuids(), st.uuids())
def test_another_run_has_other_names_and_the_same_run_the_same(one: object, other: object) -> None:
    first, again = naming.run_key(str(one)), naming.run_key(str(one))

    assert first == again
    assert (first == naming.run_key(str(other))) == (one == other)


def test_a_chosen_key_decides_whatever_the_run() -> None:
    assert naming.run_key("run-1", "weekly") == naming.run_key("run-2", "weekly")


@pytest.mark.parametrize(
    ("data", "short"),
    [
        ("ultrachat_200k", "ultrachat"),
        ("no_robots", "no-robots"),
        ("files", "files"),
        ("2024-talks", "d2024-talk"),
        ("---", "d"),
    ],
)
def test_an_endpoint_is_named_after_the_data_as_far_as_there_is_room(data: str, short: str) -> None:
    assert naming.endpoint_name("0123456789", data) == f"{short}-completion-0123456789"


def test_a_name_that_was_chosen_is_taken_as_it_is() -> None:
    assert naming.endpoint_name("0123456789", "ultrachat_200k", "mine") == "mine"
    assert naming.registered_model_name("Phi-3", "ultrachat_200k", "mine") == "mine"
    assert naming.experiment_name("chat_completion", "Phi-3", "mine") == "mine"


def test_the_model_and_the_experiment_are_named_after_model_and_data() -> None:
    assert naming.registered_model_name("Phi-3", "ultrachat_200k") == "Phi-3-ultrachat-200k"
    assert naming.experiment_name("chat_completion", "a/b") == "chat_completion_a-b"


def test_tags_say_whose_and_until_when() -> None:
    created = datetime(2026, 1, 1, tzinfo=UTC)

    tags = ownership.ownership_tags("flow", "run", "key", created, timedelta(hours=2), keep=True)

    assert tags[ownership.RUN_TAG] == "run"
    assert datetime.fromisoformat(tags[ownership.EXPIRES_TAG]) == created + timedelta(hours=2)
    assert tags[ownership.KEEP_TAG] == "true"
