"""The survey of conversations: what is counted, and that nothing of a row gets out."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from finetuning.conversations.survey import SECRETS, fault_of, has_secret, read_lines, survey


def row(*texts: str, **changes: Any) -> dict[str, Any]:
    messages = [
        {"role": "assistant" if turn % 2 else "user", "content": text}
        for turn, text in enumerate(texts)
    ]
    return {"prompt": texts[0] if texts else "", "messages": messages, "prompt_id": "1", **changes}


def test_good_rows_are_counted_and_measured() -> None:
    found = survey([row("a" * 40, "b" * 40), row("c" * 400, "d" * 40)])

    assert (found.rows, found.malformed, found.empty, found.not_alternating) == (2, 0, 0, 0)
    assert found.tokens == (10 + 5) * 2 + (100 + 5) + (10 + 5)
    assert found.longest == 120


def test_rows_beyond_the_longest_sequence_are_counted_and_cut() -> None:
    found = survey([row("a" * 400, "b" * 400), row("a", "b")], max_seq_length=50)

    assert found.over_long == 1
    assert found.tokens == 50 + 10


@pytest.mark.parametrize(
    ("broken", "field"),
    [
        (row("a", "b", prompt=None), "'prompt'"),
        (row("a", "b", prompt_id=7), "'prompt_id'"),
        (row("a", "b", messages="text"), "'messages'"),
        (row("a", "b", messages=[{"role": "user"}]), "'messages[0].content'"),
        (row("a", "b", messages=[{"role": "robot", "content": ""}]), "'messages[0].role'"),
        ({}, "'prompt'"),
    ],
)
def test_a_broken_row_is_named_by_position_and_field(broken: dict[str, Any], field: str) -> None:
    found = survey([row("a", "b"), broken])

    assert found.malformed == 1
    assert found.malformed_first[0].startswith("row 2: ") and field in found.malformed_first[0]


def test_roles_that_do_not_alternate_are_counted() -> None:
    twice = [{"role": "user", "content": "a"}, {"role": "user", "content": "b"}]

    assert survey([row("a", "b"), row("a", messages=twice)]).not_alternating == 1


def test_empty_messages_are_counted() -> None:
    assert survey([row("a", " "), row("a", "b"), row(messages=[])]).empty == 2


@pytest.mark.parametrize(
    "text",
    [
        "AKIAABCDEFGHIJKLMNOP",
        "-----BEGIN RSA PRIVATE KEY-----",
        "ghp_" + "a" * 36,
        "password: hunter2hunter2",
        "AccountKey=" + "A" * 44,
    ],
)
def test_what_looks_like_a_secret_is_counted_and_never_shown(text: str) -> None:
    found = survey([row("here it is", text), row("the password is a word", "so it is")])

    assert found.secrets == 1
    assert text not in found.model_dump_json()


#: What the pattern's alternatives are made of, so that whole and half matches are common.
PIECES = [
    *("-----BEGIN PRIVATE KEY-----", "AKIA0123456789ABCDEF", "ghs_", "sk-", "xoxb-", "hf_", "eyJ"),
    *("AccountKey=", "SharedAccessKey=", "sig=", "PassWord", "\u017fecret", "API-", "api_", "key"),
    *(":", "= ", "'", ".", " ", "a" * 40, "Z9" * 20, "\u212aey"),
]


@given(st.lists(st.sampled_from(PIECES) | st.text(max_size=3), max_size=8).map("".join))
def test_the_quick_look_for_secrets_finds_what_the_pattern_finds(text: str) -> None:
    assert has_secret(text) == bool(SECRETS.search(text))


def test_the_same_conversation_has_the_same_fingerprint() -> None:
    assert (
        survey([row("a", "b")]).fingerprints == survey([row("a", "b", prompt_id="2")]).fingerprints
    )
    assert survey([row("a", "b")]).fingerprints != survey([row("a", "c")]).fingerprints


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner),
    max_leaves=6,
)


@given(st.lists(st.dictionaries(st.sampled_from(["prompt", "messages", "prompt_id"]), values)))
def test_any_rows_are_counted_and_none_is_a_crash(rows: list[dict[str, Any]]) -> None:
    found = survey(rows)

    assert found.rows == len(rows)
    assert found.malformed == sum(fault_of(one) is not None for one in rows)


def test_a_broken_line_of_a_file_is_named_by_its_number() -> None:
    lines = [json.dumps(row("a", "b")).encode(), b'{"prompt": "a", ', b"[1]", b"\xff\xfe"]

    found = survey(read_lines(lines))

    assert (found.rows, found.malformed) == (4, 3)
    assert found.malformed_first[0].startswith("row 2: not JSON")
    assert found.malformed_first[1] == "row 3: not a JSON object"
