"""Parameters are settled before a GPU is paid for: names, types, enumerations, bounds, origin."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from emulator.catalogue import load_catalogue
from finetuning.form.run import Scalar
from finetuning.planning.declared import Declared, NotCoercible, coerce, read_declared
from finetuning.planning.model_card import read_card
from finetuning.planning.parameters import Settled, settle
from finetuning.recipes import find_recipe

SPEC = load_catalogue().registry("azureml").components[0]["properties"]["componentSpec"]
RECIPE = find_recipe("chat_completion")
DECLARED = read_declared(SPEC["inputs"])
INTEGER = Declared(name="n", type="integer")
NUMBER = Declared(name="x", type="number")
TEXT = Declared(name="t", type="string")
SWITCH = Declared(name="s", type="string", enum=("true", "false"))


def settled(
    user: dict[str, Scalar] | None = None, card: dict[str, Scalar] | None = None
) -> Settled:
    return settle(RECIPE, DECLARED, user=user or {}, card=card or {})


def errors(found: Settled) -> list[str]:
    return [f"{one.what} {one.change}" for one in found.findings if one.level == "error"]


def warnings(found: Settled) -> list[str]:
    return [f"{one.what} {one.change}" for one in found.findings if one.level == "warning"]


def origins(found: Settled) -> dict[str, str]:
    return {one.name: one.origin for one in found.parameters}


def test_the_component_declares_69_inputs() -> None:
    assert len(DECLARED) == 69
    assert DECLARED["num_train_epochs"].min == 1
    assert DECLARED["learning_rate"].default == 2e-5
    assert DECLARED["deepspeed_stage"].enum == ("2", "3")
    assert not DECLARED["task_name"].optional


def test_ours_count_where_nobody_else_says_anything() -> None:
    found = settled()

    assert not found.findings
    assert found.to_submit == RECIPE.defaults
    assert origins(found)["learning_rate"] == "ours"
    assert origins(found)["seed"] == "component"


epochs = st.none() | st.integers(1, 50)


@given(user=epochs, card=epochs, ours=epochs)
def test_the_user_counts_before_the_card_before_ours_before_the_component(
    user: int | None, card: int | None, ours: int | None
) -> None:
    def said(value: int | None) -> dict[str, Scalar]:
        return {} if value is None else {"num_train_epochs": value}

    recipe = replace(RECIPE, defaults=said(ours))
    found = settle(recipe, DECLARED, user=said(user), card=said(card))

    chain = [(user, "user"), (card, "model card"), (ours, "ours"), (1, "component")]
    value, origin = next((one, who) for one, who in chain if one is not None)
    assert found.all_values["num_train_epochs"] == value
    assert origins(found)["num_train_epochs"] == origin


anything = st.one_of(
    st.text(max_size=12), st.integers(), st.floats(), st.booleans(), st.sampled_from(["2", "true"])
)


@given(
    st.dictionaries(st.sampled_from(sorted(DECLARED)) | st.text(max_size=10), anything, max_size=6),
    st.dictionaries(st.sampled_from(sorted(DECLARED)) | st.text(max_size=10), anything, max_size=6),
)
def test_whatever_is_submitted_is_declared_and_within_its_declaration(
    user: dict[str, Scalar], card: dict[str, Scalar]
) -> None:
    found = settled(user, card)

    for name, value in found.to_submit.items():
        declared = DECLARED[name]
        assert declared.enum is None or value in declared.enum
        assert declared.min is None or float(value) >= declared.min
        assert isinstance(value, {"integer": int, "number": float}.get(declared.type, str))
    refused = set(user) - set(found.to_submit)
    assert len(errors(found)) >= len(refused)
    assert all(found.all_values[name] is not None for name in found.to_submit)


@given(st.integers(-(10**300), 10**300))
def test_a_whole_number_survives_its_text(number: int) -> None:
    assert coerce(str(number), INTEGER) == number


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_a_number_survives_its_text(number: float) -> None:
    assert coerce(repr(number), NUMBER) == number
    assert coerce(number, NUMBER) == number


@pytest.mark.parametrize(
    ("value", "declared", "expected"),
    [
        ("5e-6", NUMBER, 5e-06),
        ("2", INTEGER, 2),
        (2.0, INTEGER, 2),
        ("1e3", INTEGER, 1000),
        (1, NUMBER, 1.0),
        (2, TEXT, "2"),
        (16.0, TEXT, "16"),
        (True, SWITCH, "true"),
        ("True", SWITCH, "true"),
    ],
)
def test_what_loses_nothing_is_coerced(value: Any, declared: Declared, expected: Any) -> None:
    found = coerce(value, declared)

    assert found == expected and type(found) is type(expected)


@pytest.mark.parametrize(
    ("value", "declared"),
    [
        ("abc", INTEGER),
        (2.5, INTEGER),
        ("2.5", INTEGER),
        (True, INTEGER),
        (True, NUMBER),
        ("nan", NUMBER),
        (float("inf"), NUMBER),
        ("1e400", NUMBER),
        ("1e-400", NUMBER),
        ("", INTEGER),
        (None, TEXT),
        ([1], NUMBER),
    ],
)
def test_what_would_lose_something_is_refused(value: Any, declared: Declared) -> None:
    with pytest.raises(NotCoercible):
        coerce(value, declared)


def test_an_unknown_name_of_the_users_is_refused_with_the_nearest() -> None:
    found = settled(user={"learning_rat": 1e-5})

    assert errors(found) == [
        "The component has no input 'learning_rat'. Did you mean 'learning_rate'?"
    ]


def test_an_unknown_name_of_the_cards_is_dropped_with_a_warning() -> None:
    found = settled(card={"learning_rate_min": "5e-7", "precision": 16})

    assert not errors(found)
    assert len(warnings(found)) == 1 and "'learning_rate_min'" in warnings(found)[0]
    assert "learning_rate_min" not in found.to_submit
    assert found.to_submit["precision"] == "16"


def test_a_wrong_value_of_the_cards_is_left_out_and_the_next_in_line_counts() -> None:
    found = settled(card={"lr_scheduler_type": "sawtooth"})

    assert found.to_submit["lr_scheduler_type"] == "cosine"
    assert "'sawtooth'" in warnings(found)[0]


@pytest.mark.parametrize(
    ("user", "said"),
    [
        ({"num_train_epochs": "abc"}, ["num_train_epochs", "'abc'", "an integer", "at least 1"]),
        ({"deepspeed_stage": "7"}, ["deepspeed_stage", "'7'", "2, 3"]),
        ({"num_train_epochs": 0}, ["num_train_epochs", "0", "below the minimum of 1"]),
        ({"learning_rate": 0}, ["learning_rate is 0", "above 0"]),
        ({"compute_finetune": "mine"}, ["compute_finetune", "run.compute.steps.finetune"]),
        ({"mlflow_model_path": "x"}, ["mlflow_model_path", "run.model"]),
        ({"auto_find_batch_size": True}, ["DeepSpeed", "auto_find_batch_size"]),
        ({"deepspeed_stage": 3, "apply_ort": True}, ["stage 3", "apply_ort"]),
        (
            {"apply_early_stopping": True, "evaluation_strategy": "disable"},
            ["Early stopping", "evaluation_strategy"],
        ),
        ({"gradient_accumulation_steps": 0}, ["gradient_accumulation_steps is 0", "1 or more"]),
        ({"lora_r": 0}, ["lora_r is 0", "1 or more"]),
        ({"evaluation_strategy": "steps", "eval_steps": 0}, ["evaluation_strategy", "eval_steps"]),
        ({"validation_file_path": 5}, ["validation_file_path", "5", "uri_file"]),
    ],
)
def test_what_the_component_would_refuse_is_refused_with_what_to_change(
    user: dict[str, Scalar], said: list[str]
) -> None:
    found = errors(settled(user=user))

    assert len(found) == 1
    assert all(word in found[0] for word in said), found[0]


def test_a_least_value_counts_only_where_it_is_used() -> None:
    assert errors(settled(user={"lora_r": 0, "apply_lora": False})) == []


def test_a_required_input_that_nothing_gives_is_an_error() -> None:
    declared = {**DECLARED, "corpus": Declared(name="corpus", type="string", optional=False)}

    found = settle(RECIPE, declared, user={}, card={})

    assert "requires 'corpus'" in errors(found)[0]


def test_a_learning_rate_outside_the_cards_range_is_a_warning() -> None:
    card: dict[str, Scalar] = {"learning_rate_min": "5e-7", "learning_rate_max": "5e-5"}

    outside = settled(user={"learning_rate": 1e-3}, card=card)
    inside = settled(user={"learning_rate": 1e-5}, card=card)

    assert any("recommends" in one for one in warnings(outside))
    assert not any("recommends" in one for one in warnings(inside))


@pytest.mark.parametrize("index", range(len(load_catalogue().registry("azureml").models)))
def test_no_card_of_the_catalogue_brings_an_error(index: int) -> None:
    card = read_card(load_catalogue().registry("azureml").models[index]["properties"])

    assert not errors(settle(RECIPE, DECLARED, user={}, card=card.defaults))
