"""Values that are possible and that hardly anybody means are warned of, not refused."""

from __future__ import annotations

from typing import Any

import pytest

from emulator.catalogue import load_catalogue
from finetuning.planning.declared import read_declared
from finetuning.planning.parameters import settle
from finetuning.recipes import find_recipe

RECIPE = find_recipe("chat_completion")
SPEC = load_catalogue().registry("azureml").components[0]["properties"]["componentSpec"]
DECLARED = read_declared(SPEC["inputs"])


def findings(user: dict[str, Any], card: dict[str, Any] | None = None) -> list[tuple[str, str]]:
    found = settle(RECIPE, DECLARED, user=user, card=card or {}).findings
    return [(one.level, one.what) for one in found if "unusual" in one.what]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("learning_rate", 1_000_000.0),
        ("learning_rate", 1e-12),
        ("num_train_epochs", 5_000),
        ("per_device_train_batch_size", 4_096),
        ("per_device_eval_batch_size", 4_096),
        ("gradient_accumulation_steps", 100_000),
        ("lora_r", 65_536),
        ("lora_alpha", 1_000_000),
        ("max_seq_length", 4),
    ],
)
def test_a_value_that_nobody_means_is_warned_of(name: str, value: float) -> None:
    ((level, what),) = findings({name: value})

    assert level == "warning"
    assert name in what and f"{value:g}" in what and "user" in what


def test_the_cards_values_are_looked_at_too() -> None:
    ((_, what),) = findings({}, card={"learning_rate": 5.0})

    assert "model card" in what


@pytest.mark.parametrize(
    "user",
    [
        {},
        {"learning_rate": 2e-3, "num_train_epochs": 1, "max_seq_length": 96},
        {"max_seq_length": -1},
        {"learning_rate": "5e-6", "lora_r": 256},
    ],
)
def test_what_somebody_may_mean_is_not(user: dict[str, Any]) -> None:
    assert findings(user) == []


def test_every_usual_range_is_of_an_input_and_holds_its_default() -> None:
    assert set(RECIPE.usual) <= set(DECLARED)
    for name, usual in RECIPE.usual.items():
        default = DECLARED[name].default
        if isinstance(default, int | float) and default >= 0:
            assert usual.low <= default <= usual.high, name
