"""Which rows an endpoint is asked about, and what of them is the question."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from finetuning.conversations.turns import split_turns
from finetuning.errors import DataError
from tasks.scoring import pick_rows

Messages = list[dict[str, str]]

turns = st.lists(
    st.fixed_dictionaries(
        {"role": st.sampled_from(["system", "user", "assistant"]), "content": st.text(max_size=9)}
    ),
    min_size=1,
    max_size=8,
)


def said(*roles: str) -> Messages:
    return [{"role": role, "content": f"{role} {place}"} for place, role in enumerate(roles)]


def write(file: Path, rows: list[object]) -> Path:
    file.write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    return file


def numbered(tmp_path: Path, count: int) -> Path:
    rows = [{"messages": [{"role": "user", "content": str(n)}]} for n in range(count)]
    return write(tmp_path / "test_gen.jsonl", rows)


def test_the_last_answer_is_the_reference_and_what_came_before_is_asked() -> None:
    messages = said("system", "user", "assistant", "user", "assistant")

    assert split_turns(messages) == (messages[:4], "assistant 4")


def test_what_follows_the_last_answer_is_not_asked() -> None:
    messages = said("user", "assistant", "user")

    assert split_turns(messages) == (messages[:1], "assistant 1")


@pytest.mark.parametrize("roles", [["user"], ["system", "user"], ["assistant"]])
def test_a_row_without_a_reference_is_asked_whole(roles: list[str]) -> None:
    messages = said(*roles)

    assert split_turns(messages) == (messages, "")


@given(turns)
def test_something_is_always_asked_and_never_its_own_reference(messages: Messages) -> None:
    asked, reference = split_turns(messages)

    assert asked and asked == messages[: len(asked)]
    if len(asked) < len(messages):
        assert messages[len(asked)] == {"role": "assistant", "content": reference}


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(rows=st.integers(1, 40), wanted=st.integers(1, 60), seed=st.integers(0, 1000))
def test_the_seed_decides_which_rows_and_each_is_taken_once(
    tmp_path: Path, rows: int, wanted: int, seed: int
) -> None:
    file = numbered(tmp_path, rows)

    picked = [int(row[0]["content"]) for row in pick_rows(file, rows, wanted, seed)]

    assert picked == sorted(set(picked))
    assert len(picked) == min(wanted, rows)
    assert picked == [int(row[0]["content"]) for row in pick_rows(file, rows, wanted, seed)]


def test_only_role_and_content_are_sent(tmp_path: Path) -> None:
    row = {"messages": [{"role": "user", "content": "Hi", "weight": 1}], "prompt": "Hi"}
    file = write(tmp_path / "test_gen.jsonl", [row])

    assert pick_rows(file, 1, 1, 42) == [[{"role": "user", "content": "Hi"}]]


def test_a_file_without_rows_says_what_to_raise(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"test_gen\.jsonl has no rows .*run\.data\.percentage"):
        pick_rows(tmp_path / "test_gen.jsonl", 0, 1, 42)


@pytest.mark.parametrize(
    "row", [{}, {"messages": None}, {"messages": [{"role": "user"}]}, {"messages": ["Hi"]}, 7]
)
def test_a_broken_row_is_named_by_its_line(tmp_path: Path, row: object) -> None:
    good = {"messages": [{"role": "user", "content": "Hi"}]}
    file = write(tmp_path / "test_gen.jsonl", [good, row])

    with pytest.raises(DataError, match=r"test_gen\.jsonl, line 2: .*run\.data\.refresh"):
        pick_rows(file, 2, 2, 42)
