"""Recipes are known by their names, and a misspelt one is told the nearest."""

from __future__ import annotations

from dataclasses import replace

import pytest

from finetuning.errors import SettingsError
from finetuning.recipes import Step, find_recipe
from tests.support.recipes import registered

RECIPE = find_recipe("chat_completion")


def test_a_recipe_that_was_registered_is_found_by_its_name() -> None:
    mine = replace(RECIPE, name="of-this-test")

    with registered(mine):
        assert find_recipe("of-this-test") is mine
    with pytest.raises(SettingsError):
        find_recipe("of-this-test")


def test_a_misspelt_name_is_refused_with_the_nearest() -> None:
    with pytest.raises(SettingsError, match=r"'chat_completoin' .* mean 'chat_completion'\?"):
        find_recipe("chat_completoin")


def test_a_name_like_none_is_refused_with_all_there_are() -> None:
    with pytest.raises(SettingsError, match=r"There are: .*chat_completion"):
        find_recipe("1234567")


def test_a_step_that_the_recipe_does_not_know_runs_on_the_trainings_compute() -> None:
    assert RECIPE.step("a-step-of-a-later-version") == Step("finetune")


def test_the_tutorials_splits_are_named_by_what_they_are_for() -> None:
    assert RECIPE.splits.all == ("train_sft", "test_sft", "test_gen")
