"""Model cards of every kind that the catalogue holds: read, never evaluated, never a crash."""

from __future__ import annotations

import json
from contextlib import suppress
from datetime import date
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from emulator.catalogue import load_catalogue
from finetuning.planning.model_card import CardTextError, ModelCard, literal, read_card
from finetuning.recipes import find_recipe

TODAY = date(2026, 8, 1)
CHAT = find_recipe("chat_completion").card_tasks
A100 = "Standard_NC24ads_A100_v4"

scalars = st.one_of(
    st.text(max_size=20), st.integers(), st.floats(allow_nan=False, allow_infinity=False)
)
values = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner),
    max_leaves=8,
)


def card(name: str, version: str) -> ModelCard:
    found = [
        one
        for one in load_catalogue(TODAY).registry("azureml").models
        if one["name"] == name and one["version"] == version
    ]
    return read_card(found[0]["properties"])


@given(values)
def test_python_text_is_read_back_as_it_was_written(value: Any) -> None:
    assert literal(repr(value)) == value


@given(values)
def test_json_text_is_read_back_as_it_was_written(value: Any) -> None:
    assert literal(json.dumps(value)) == value


@given(st.text(max_size=300))
def test_any_text_is_a_literal_or_a_card_text_error(text: str) -> None:
    with suppress(CardTextError):
        literal(text)


@given(st.dictionaries(st.text(max_size=30), values))
def test_any_tags_give_a_card(tags: dict[str, Any]) -> None:
    assert isinstance(read_card({"tags": tags, "properties": tags}), ModelCard)


@given(
    st.sampled_from(
        ["finetune_compute_allow_list", "model_specific_defaults", "FinetuneRetirementDate"]
    ),
    st.text(max_size=60),
)
def test_any_text_of_a_known_tag_is_read_or_listed_as_a_problem(name: str, text: str) -> None:
    found = read_card({"tags": {name: text}})

    assert {one.field for one in found.problems} <= {name}


@pytest.mark.parametrize(
    "text",
    [
        "__import__('os').getcwd()",
        "open('/etc/passwd').read()",
        "(lambda: 1)()",
        "[1, 2",
        "x",
        "[" * 5000,
        "9" * 30_000,
    ],
)
def test_text_that_is_no_literal_is_refused_and_never_evaluated(text: str) -> None:
    with pytest.raises(CardTextError):
        literal(text)


def test_the_tutorials_card_keeps_its_lists_as_python_text() -> None:
    found = card("Phi-3-mini-4k-instruct", "1")

    assert found.finetune_sizes is not None
    assert "Standard_ND40rs_v2" in found.finetune_sizes
    assert found.inference_sizes is not None
    assert "Standard_NC6s_v3" in found.inference_sizes
    assert found.defaults["learning_rate"] == "5e-6"
    assert found.defaults["deepspeed_stage"] == 2
    assert found.finetune_minimum is not None
    assert (found.finetune_minimum.vcpus, found.finetune_minimum.gpus) == (24, 1)
    assert (found.finetune_minimum.memory_gb, found.finetune_minimum.disk_gb) == (220, 64)
    assert found.fine_tunes(CHAT) and not found.archived
    assert found.licence == "mit"
    assert not found.problems


def test_a_card_with_json_text_reads_like_one_with_python_text() -> None:
    as_json, as_python = card("Phi-4-mini-instruct", "1"), card("Phi-4", "7")

    assert as_json.finetune_sizes == as_python.finetune_sizes
    assert as_json.defaults == as_python.defaults | {"deepspeed_stage": 2}


def test_lists_and_dates_in_system_metadata_are_found() -> None:
    found = card("Phi-4", "8")

    assert found.finetune_sizes is not None and A100 in found.finetune_sizes
    assert found.finetune_recommended is not None and found.finetune_recommended[0] == A100
    assert found.finetune_retires is None
    assert found.finetune_minimum is not None
    assert found.defaults["deepspeed_stage"] == 3


def test_system_metadata_counts_before_tags() -> None:
    found = read_card(
        {
            "tags": {"finetune_compute_allow_list": "['old']"},
            "system_metadata": {"supportedComputes": {"finetuneComputes": ["new"]}},
        }
    )

    assert found.finetune_sizes == ("new",)


def test_an_archived_card_tells_its_retirement() -> None:
    found = card("Phi-3-mini-4k-instruct", "15")

    assert found.archived
    assert found.finetune_retires == found.inference_retires == date(2025, 8, 30)


def test_a_date_in_an_old_cards_tags_is_found() -> None:
    assert card("community-retiring-model", "1").finetune_retires == date(2026, 9, 30)


def test_a_card_without_lists_says_so() -> None:
    found = card("mistralai-Mistral-7B-Instruct-v0-1", "12")

    assert found.finetune_sizes is None and found.inference_sizes is None
    assert found.fine_tunes(CHAT)


@pytest.mark.parametrize(
    ("name", "version"), [("databricks-dolly-v2-12b", "20"), ("Phi-4-reasoning", "1")]
)
def test_a_model_that_does_not_fine_tune_for_chat_says_so(name: str, version: str) -> None:
    assert not card(name, version).fine_tunes(CHAT)


def test_broken_texts_are_problems_that_name_field_and_text() -> None:
    found = card("community-chat-model", "1")

    problems = {one.field: one.why for one in found.problems}
    assert set(problems) == {
        "finetune_compute_allow_list",
        "model_specific_defaults",
        "FinetuneRetirementDate",
        "finetune-min-sku-spec",
    }
    assert "__import__" in problems["model_specific_defaults"]
    assert found.defaults == {}
