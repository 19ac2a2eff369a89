"""The fine-tune's parameters, settled before anything is submitted.

The user's choice counts first, then the preset's, the model card's, and ours; the component's own
defaults fill the rest. Each value is held against what the component declares: name, type,
enumeration, bounds. The SDK checks none of this, and the job would fail on the GPU.
"""

from __future__ import annotations

import difflib
from collections.abc import Collection, Mapping
from typing import Literal

from pydantic import BaseModel, ConfigDict

from finetuning.form.run import Scalar
from finetuning.planning.declared import Declared, NotCoercible, coerce, with_article, within
from finetuning.planning.findings import Finding, Report
from finetuning.recipes import Recipe

Origin = Literal["user", "preset", "model card", "ours", "component"]


class Parameter(BaseModel):
    """One settled input: its value, and where that came from."""

    model_config = ConfigDict(frozen=True)

    name: str
    value: Scalar
    origin: Origin


class Settled(BaseModel):
    """Every input that has a value, and what was found on the way."""

    model_config = ConfigDict(frozen=True)

    parameters: list[Parameter]
    findings: list[Finding]

    @property
    def to_submit(self) -> dict[str, Scalar]:
        """Return what is handed to the component; its own defaults need not be."""
        return {one.name: one.value for one in self.parameters if one.origin != "component"}

    @property
    def all_values(self) -> dict[str, Scalar]:
        """Return what the job will run with."""
        return {one.name: one.value for one in self.parameters}


def settle(
    recipe: Recipe,
    declared: Mapping[str, Declared],
    *,
    user: Mapping[str, Scalar],
    card: Mapping[str, Scalar],
    preset: Mapping[str, Scalar] | None = None,
) -> Settled:
    """Return the parameters of a run, and every error and warning among them.

    What the user chose, or the preset, and cannot be is an error; what the card brought and cannot
    be is left out with a warning, and the next in line counts.
    """
    report = Report("parameters")
    chosen: dict[str, Parameter] = {}
    sources: list[tuple[Origin, Mapping[str, Scalar]]] = [
        ("ours", recipe.defaults),
        ("model card", card),
        ("preset", preset or {}),
        ("user", user),
    ]
    inputs = _Inputs(recipe, declared, report)
    for origin, values in sources:
        for name, value in values.items():
            accepted = inputs.accept(name, value, origin)
            if accepted is not None:
                chosen[name] = Parameter(name=name, value=accepted, origin=origin)
    settled = []
    for name, one in declared.items():
        if name in chosen:
            settled.append(chosen[name])
        elif one.default is not None and name not in recipe.follows:
            settled.append(Parameter(name=name, value=one.default, origin="component"))
    _check_required(declared, {*chosen, *recipe.follows}, report)
    _check_combinations(recipe, {one.name: one.value for one in settled}, report)
    _check_usual(recipe, settled, report)
    _check_learning_rate(chosen.get("learning_rate"), card, report)
    return Settled(parameters=settled, findings=report.findings)


class _Inputs:
    """The component's inputs, and what may be given to each."""

    def __init__(self, recipe: Recipe, declared: Mapping[str, Declared], report: Report) -> None:
        self.recipe, self.declared, self.report = recipe, declared, report

    def accept(self, name: str, value: Scalar, origin: Origin) -> Scalar | None:
        """Return the value as it is submitted, or None after saying why it is not."""
        if name not in self.declared:
            if origin != "ours":  # a component without one of the defaults can do without it
                _refuse(origin, self.report, *_unknown(name, self.declared))
            return None
        if name in self.recipe.follows:
            place = self.recipe.follows[name]
            what = f"Parameter '{name}' is set by {place}."
            _refuse(origin, self.report, what, f"Remove it, and set {place} instead.")
            return None
        declared = self.declared[name]
        try:
            return within(coerce(value, declared), declared)
        except NotCoercible as error:
            what = f"Parameter '{name}' is {value!r}: {error}."
            _refuse(origin, self.report, what, _allowed(declared))
            return None


def _refuse(origin: Origin, report: Report, what: str, change: str) -> None:
    if origin in ("user", "preset"):
        report.error(what, change)
    else:
        report.warn(f"The model's card: {what}", "It is ignored. Nothing to change.")


def _unknown(name: str, declared: Mapping[str, Declared]) -> tuple[str, str]:
    near = difflib.get_close_matches(name, declared, n=1, cutoff=0.4)
    hint = f"Did you mean '{near[0]}'?" if near else "Remove it from run.parameters."
    return f"The component has no input '{name}'.", hint


def _allowed(declared: Declared) -> str:
    if declared.enum:
        return f"Choose one of {', '.join(declared.enum)}."
    bounds = [
        f"{word} {bound:g}"
        for word, bound in (("at least", declared.min), ("at most", declared.max))
        if bound is not None
    ]
    return f"Use {with_article(declared.type)}{', ' if bounds else ''}{' and '.join(bounds)}."


def _check_required(
    declared: Mapping[str, Declared], given: Collection[str], report: Report
) -> None:
    for name, one in declared.items():
        if not one.optional and one.default is None and name not in given:
            report.error(
                f"The component requires '{name}', and it is not set.",
                f"Set it: run.parameters.other = {{{name!r}: ...}}.",
            )


def _check_combinations(recipe: Recipe, values: Mapping[str, Scalar], report: Report) -> None:
    """Say which values the component's own checks refuse, minutes into the job."""
    for name, least in recipe.least.items():
        value = values.get(name)
        counts = not least.switch or values.get(least.switch) == least.setting
        if counts and isinstance(value, int) and value < least.value:
            report.error(f"{name} is {value}.", f"Choose {least.value} or more.")
    for what, change in recipe.refusals(values):
        report.error(what, change)
    for what, change in recipe.doubts(values):
        report.warn(what, change)


def _check_usual(recipe: Recipe, settled: Collection[Parameter], report: Report) -> None:
    """Warn of values that are possible and that hardly anybody means.

    The component's own defaults are left alone; so is a negative value, which switches off.
    """
    for one in settled:
        usual = recipe.usual.get(one.name)
        number = one.value
        if usual is None or one.origin == "component" or isinstance(number, str | bool):
            continue
        if number >= 0 and not usual.low <= number <= usual.high:
            report.warn(
                f"{one.name} is {number:g} ({one.origin}), which is unusual.",
                f"Usual values are {usual.low:g} to {usual.high:g}. Ignore this if you mean it.",
            )


def _check_learning_rate(
    rate: Parameter | None, card: Mapping[str, Scalar], report: Report
) -> None:
    """Warn of a learning rate outside the range that the card recommends, where it names one."""
    try:
        low, high = float(card["learning_rate_min"]), float(card["learning_rate_max"])
    except (KeyError, ValueError):
        return
    if rate is not None and rate.origin == "user" and not low <= float(rate.value) <= high:
        report.warn(
            f"learning_rate {rate.value} is outside what the model's card recommends.",
            f"Choose one from {low:g} to {high:g}.",
        )
