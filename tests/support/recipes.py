"""Recipes of a test's own."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from finetuning import recipes
from finetuning.recipes import Recipe


@contextmanager
def registered(recipe: Recipe) -> Iterator[Recipe]:
    """Make a recipe known for a while."""
    try:
        yield recipes.register(recipe)
    finally:
        del recipes._RECIPES[recipe.name]
