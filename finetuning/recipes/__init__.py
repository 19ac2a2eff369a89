"""Recipes: everything that one kind of fine-tune implies, as one value each.

Whoever needs to know a component's name, its steps, its files or how its model is asked, asks the
recipe of the run. ``docs/adding-a-recipe.md`` says how to add one.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from finetuning.errors import SettingsError
from finetuning.form.data import DataChoice
from finetuning.form.run import Scalar

#: Something that the component refuses: what it is, and what to change.
Refusal = tuple[str, str]


@dataclass(frozen=True)
class Splits:
    """The splits of a dataset that a run uses, by what they are for."""

    train: str
    test: str
    asked: str
    validation: str | None = None

    @property
    def all(self) -> tuple[str, ...]:
        """Return their names."""
        return (self.train, self.test, self.asked, *filter(None, [self.validation]))


@dataclass(frozen=True)
class Least:
    """The least value of an input that declares no bound; counts where a switch is set, if any."""

    value: int
    switch: str = ""
    setting: str = ""


@dataclass(frozen=True)
class Usual:
    """Values of an input that somebody may mean; beyond them lies a slip or a wasted night."""

    low: float
    high: float


@dataclass(frozen=True)
class Step:
    """A step of the published pipeline: the compute it runs on, and whether it takes every node."""

    compute: str
    distributed: bool = False


@dataclass(frozen=True)
class Recipe:
    """One kind of fine-tune: a component of the registry, and all that it implies."""

    name: str
    #: In words, for people.
    title: str
    component: str
    #: The component's steps as Azure shows them.
    steps: Mapping[str, Step]
    #: The component's computes: its inputs are ``compute_NAME`` and ``instance_type_NAME``.
    computes: tuple[str, ...]
    #: The inputs that take the foundation model's id, by the model's type in its registry.
    model_inputs: Mapping[str, str]
    #: The input that takes the number of GPUs of a training's node.
    gpus_input: str
    #: The component's output with the fine-tuned model, and the job's name for it.
    component_output: str
    job_output: str
    #: The component's output in which it keeps its checkpoints while it trains.
    checkpoints: str
    splits: Splits
    #: Inputs that take a split's file, and which split.
    files: Mapping[str, str]
    #: The splits and inputs of a dataset of one split, which the run cuts (``run.data.cut``).
    cut_splits: Splits
    cut_files: Mapping[str, str]
    #: What counts where neither the user nor the model's card says otherwise.
    defaults: Mapping[str, Scalar]
    #: Inputs that follow from another field of the run, and that field.
    follows: Mapping[str, str]
    #: The card's names of what a model can be fine-tuned for.
    card_tasks: tuple[str, ...]
    #: Begins the experiment's name.
    experiment: str
    #: The job's display name from model, data, settled parameters and GPUs per node.
    display_name: Callable[[str, str, Mapping[str, Scalar], int], str]
    #: The body of a scoring request from messages and sampling parameters.
    request: Callable[[list[dict[str, str]], Mapping[str, Any]], dict[str, Any]]
    #: The answer in a scoring response.
    answer: Callable[[str], str]
    #: What the component's own checks refuse, minutes into the job.
    refusals: Callable[[Mapping[str, Scalar]], Iterable[Refusal]]
    #: What the component does with these values that somebody may not want, and what to change.
    doubts: Callable[[Mapping[str, Scalar]], Iterable[Refusal]] = lambda _: ()
    least: Mapping[str, Least] = field(default_factory=dict)
    #: What is usual: a value outside is warned of, not refused.
    usual: Mapping[str, Usual] = field(default_factory=dict)

    def of(self, data: DataChoice) -> Recipe:
        """Return the recipe with the splits and files that there are of this data."""
        if not data.cut.on:
            return self
        files = {name: part for name, part in self.cut_files.items() if part in data.names}
        splits = self.cut_splits
        if splits.validation not in data.names:
            splits = replace(splits, validation=None)
        follows = {**self.follows, **dict.fromkeys(files, "run.data")}
        return replace(self, splits=splits, files=files, follows=follows)

    def step(self, name: str) -> Step:
        """Return a step; one that the recipe does not know runs on the training's compute."""
        training = next(step for step in self.steps.values() if step.distributed)
        return self.steps.get(name, Step(training.compute))


_RECIPES: dict[str, Recipe] = {}


def register(recipe: Recipe) -> Recipe:
    """Make a recipe known by its name, which is what ``run.recipe`` says."""
    _RECIPES[recipe.name] = recipe
    return recipe


def find_recipe(name: str) -> Recipe:
    """Return the recipe of this name.

    Raises:
        SettingsError: there is none; names the nearest.
    """
    from finetuning.recipes import chat_completion

    register(chat_completion.RECIPE)
    if name in _RECIPES:
        return _RECIPES[name]
    near = difflib.get_close_matches(name, _RECIPES, n=1, cutoff=0.4)
    hint = f"Did you mean '{near[0]}'?" if near else f"There are: {', '.join(sorted(_RECIPES))}."
    raise SettingsError(f"There is no recipe '{name}' (run.recipe). {hint}")


def recipe_for(name: str, data: DataChoice) -> Recipe:
    """Return the recipe of this name, with the splits that there are of this data.

    Raises:
        SettingsError: there is none; names the nearest.
    """
    return find_recipe(name).of(data)
