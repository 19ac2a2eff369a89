"""A dataset of one split, cut into three; and what its messages keep."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from finetuning.conversations.selection import part
from finetuning.conversations.survey import fault_of, survey
from finetuning.conversations.write import prepare
from finetuning.errors import DataError
from finetuning.form.data import DataChoice

SHARES = {"split": "train", "train": 0.8, "validation": 0.1, "test": 0.1}
ODD = 'naïve "quoted" 🙂 «à» \u2028 a/b\n\ttab'


def reasoned(number: int) -> dict[str, Any]:
    return {
        "user": f"{ODD} {number}",
        "messages": [
            {"content": f"reasoning language: French\n\n{ODD}", "role": "system", "thinking": None},
            {"content": "Be brief.", "role": "developer", "thinking": None},
            {"content": f"{ODD} {number}", "role": "user", "thinking": None},
            {"content": "Oui.", "role": "assistant", "thinking": f"D'accord, {ODD}"},
        ],
    }


def local(folder: Path, rows: list[dict[str, Any]], **changes: Any) -> DataChoice:
    file = folder / "rows.jsonl"
    text = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    file.write_bytes(text.encode())
    values = {
        "files": {"train": str(file)},
        "percentage": 100,
        "cut": SHARES,
        "columns": {"prompt": "user"},
    }
    return DataChoice.model_validate(values | changes)


@given(
    rows=st.integers(10, 500), seed=st.integers(0, 99), validation=st.sampled_from([0.0, 0.1, 0.3])
)
def test_each_row_is_in_exactly_one_part(rows: int, seed: int, validation: float) -> None:
    shares = {**SHARES, "train": 0.9 - validation, "validation": validation}
    choice = DataChoice.model_validate({"cut": shares, "seed": seed})

    parts = {name: part(choice, name, range(rows)) for name in choice.names}

    assert sorted(one for rows_ in parts.values() for one in rows_) == list(range(rows))
    assert ("validation" in parts) == (validation > 0)
    assert all(list(one) == sorted(one) for one in parts.values())


def test_the_parts_are_those_of_the_samples_own_shuffle() -> None:
    """The sample shuffles the lines by seed 42 and takes 800, 100 and 100 of them in turn."""
    order = list(range(1000))
    random.Random(42).shuffle(order)
    choice = DataChoice.model_validate({"cut": SHARES})

    assert set(part(choice, "train", range(1000))) == set(order[:800])
    assert set(part(choice, "validation", range(1000))) == set(order[800:900])
    assert set(part(choice, "test", range(1000))) == set(order[900:])


def test_another_seed_is_another_cut_and_the_same_is_the_same() -> None:
    def train(seed: int) -> list[int]:
        return list(
            part(DataChoice.model_validate({"cut": SHARES, "seed": seed}), "train", range(99))
        )

    assert train(1) == train(1) != train(2)


def test_roles_and_reasoning_are_kept_to_the_byte(tmp_path: Path) -> None:
    content = [reasoned(number) for number in range(50)]

    made = prepare(local(tmp_path, content), tmp_path / "out")

    assert made.rows == {"train": 40, "validation": 5, "test": 5}
    written = b"".join(made.file(name).read_bytes() for name in made.splits)
    lines = [json.loads(line) for line in written.split(b"\n") if line]
    assert sorted(one["prompt"] for one in lines) == sorted(one["user"] for one in content)
    by_prompt = {one["user"]: one["messages"] for one in content}
    assert all(one["messages"] == by_prompt[one["prompt"]] for one in lines)
    assert "🙂 «à»".encode() in written  # the text itself, not its escapes


def test_a_message_without_reasoning_gets_none(tmp_path: Path) -> None:
    bare = [{"content": "a", "role": "user"}, {"content": "b", "role": "assistant"}]

    made = prepare(local(tmp_path, [{"user": "a", "messages": bare}] * 20), tmp_path / "out")

    (first, *_) = made.file("train").read_text().splitlines()
    assert json.loads(first)["messages"] == bare


def test_reasoning_under_another_name_is_mapped(tmp_path: Path) -> None:
    rows = [
        {"user": "a", "messages": [{"content": "b", "role": "assistant", "analysis": "hm"}]}
    ] * 20

    choice = local(tmp_path, rows, columns={"prompt": "user", "thinking": "analysis"})
    (first, *_) = prepare(choice, tmp_path / "out").file("train").read_text().splitlines()

    assert json.loads(first)["messages"][0]["thinking"] == "hm"


@pytest.mark.parametrize(("rows", "lacking"), [(4, "validation and test"), (1, "validation")])
def test_a_split_too_small_to_cut_is_refused_with_what_would_be_empty(
    tmp_path: Path, rows: int, lacking: str
) -> None:
    content = [reasoned(number) for number in range(rows)]

    with pytest.raises(DataError, match=f"'train' is too small to cut: its {rows} rows .*{lacking}"):
        prepare(local(tmp_path, content), tmp_path / "out")


def test_reasoning_that_is_no_text_is_a_fault_and_long_reasoning_counts() -> None:
    row = {"prompt_id": "1", "prompt": "x", **reasoned(1)}
    broken = {**row, "messages": [{"role": "user", "content": "a", "thinking": 7}]}
    longer = {
        **row,
        "messages": [*row["messages"][:3], {**row["messages"][3], "thinking": "x" * 4000}],
    }

    assert fault_of(broken) == "field 'messages[0].thinking' is not text"
    assert survey([longer]).tokens > survey([row]).tokens + 900
    assert survey([row]).not_alternating == 0


def test_a_scene_that_is_set_in_the_middle_does_not_alternate() -> None:
    row = {"prompt_id": "1", "prompt": "x", **reasoned(1)}
    late = {**row, "messages": [*row["messages"][2:], row["messages"][0]]}

    assert survey([late]).not_alternating == 1
