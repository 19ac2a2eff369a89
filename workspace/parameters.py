"""The fine-tune's parameters, settled before anything is submitted.

The user's choice counts first, then the model card's, then ours; the component's own defaults fill
the rest. Each value is held against what the component declares: name, type, enumeration, bounds.
The SDK checks none of this, and the job would fail on the GPU.
"""

from __future__ import annotations

import difflib
import math
from collections.abc import Mapping
from decimal import Decimal, InvalidOperation
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict

from workspace.findings import Finding, Report

Value = str | int | float | bool
Origin = Literal["user", "model card", "ours", "component"]

#: The tutorial's parameters: what counts where neither the user nor the card says otherwise.
OURS: dict[str, Value] = {
    "num_train_epochs": 3,
    "per_device_train_batch_size": 1,
    "per_device_eval_batch_size": 1,
    "learning_rate": 5e-6,
    "lr_scheduler_type": "cosine",
    "apply_lora": "true",
    "apply_deepspeed": "true",
    "deepspeed_stage": "2",
}
#: Inputs that follow from other fields of the run, and the field that decides them.
FROM_THE_RUN = {
    "mlflow_model_path": "run.model",
    "pytorch_model_path": "run.model",
    "huggingface_id": "run.model",
    "train_file_path": "run.data",
    "test_file_path": "run.data",
    "train_mltable_path": "run.data",
    "test_mltable_path": "run.data",
    "number_of_gpu_to_use_finetuning": "run.compute.size",
    **{
        f"{kind}_{step}": f"run.compute.steps.{step}"
        for kind in ("compute", "instance_type")
        for step in ("model_import", "preprocess", "finetune", "model_evaluation")
    },
}
#: What the libraries inside the component refuse, though it declares no bound: least values, each
#: with the switch (input and value) under which it counts.
LEAST: dict[str, tuple[int, str, str]] = {
    "gradient_accumulation_steps": (1, "", ""),
    "warmup_steps": (0, "", ""),
    "dataloader_num_workers": (0, "", ""),
    "lora_r": (1, "apply_lora", "true"),
    "logging_steps": (1, "logging_strategy", "steps"),
    "early_stopping_patience": (1, "apply_early_stopping", "true"),
}


class NotCoercible(ValueError):
    """A value cannot become the declared type without loss; says why."""


class Declared(BaseModel):
    """One input as the component declares it."""

    model_config = ConfigDict(frozen=True)

    name: str
    type: str
    optional: bool = True
    default: Value | None = None
    min: float | None = None
    max: float | None = None
    enum: tuple[str, ...] | None = None


class Parameter(BaseModel):
    """One settled input: its value, and where that came from."""

    model_config = ConfigDict(frozen=True)

    name: str
    value: Value
    origin: Origin


class Settled(BaseModel):
    """Every input that has a value, and what was found on the way."""

    model_config = ConfigDict(frozen=True)

    parameters: list[Parameter]
    findings: list[Finding]

    @property
    def to_submit(self) -> dict[str, Value]:
        """Return what is handed to the component; its own defaults need not be."""
        return {one.name: one.value for one in self.parameters if one.origin != "component"}

    @property
    def all_values(self) -> dict[str, Value]:
        """Return what the job will run with."""
        return {one.name: one.value for one in self.parameters}


def read_declared(inputs: Mapping[str, Mapping[str, Any]]) -> dict[str, Declared]:
    """Return the component's inputs by name; the registry writes defaults and bounds as text."""
    return {name: _declared(name, facts) for name, facts in inputs.items()}


def _declared(name: str, facts: Mapping[str, Any]) -> Declared:
    kind = str(facts["type"]).lower()
    bare = Declared(name=name, type=kind)
    enum = facts.get("enum")
    return Declared(
        name=name,
        type=kind,
        optional=str(facts.get("optional", False)).lower() == "true",
        default=_default(facts.get("default"), bare),
        min=_number_or_none(facts.get("min")),
        max=_number_or_none(facts.get("max")),
        enum=tuple(str(one) for one in enum) if enum else None,
    )


def _default(value: Any, declared: Declared) -> Value | None:
    try:
        return None if value is None else coerce(value, declared)
    except NotCoercible:  # the component's own slip; it will be asked for like any other input
        return None


def _number_or_none(value: Any) -> float | None:
    return None if value is None else float(value)


def settle(
    declared: Mapping[str, Declared],
    *,
    user: Mapping[str, Value],
    card: Mapping[str, Value],
    ours: Mapping[str, Value] = OURS,
) -> Settled:
    """Return the parameters of a run, and every error and warning among them.

    What the user chose and cannot be is an error; what the card brought and cannot be is left out
    with a warning, and the next in line counts.
    """
    report = Report("parameters")
    chosen: dict[str, Parameter] = {}
    sources: list[tuple[Origin, Mapping[str, Value]]] = [
        ("ours", ours),
        ("model card", card),
        ("user", user),
    ]
    for origin, values in sources:
        for name, value in values.items():
            accepted = _accept(declared, name, value, origin, report)
            if accepted is not None:
                chosen[name] = Parameter(name=name, value=accepted, origin=origin)
    settled = []
    for name, one in declared.items():
        if name in chosen:
            settled.append(chosen[name])
        elif one.default is not None and name not in FROM_THE_RUN:
            settled.append(Parameter(name=name, value=one.default, origin="component"))
    _check_required(declared, chosen, report)
    _check_combinations({one.name: one.value for one in settled}, report)
    _check_learning_rate(chosen.get("learning_rate"), card, report)
    return Settled(parameters=settled, findings=report.findings)


def _accept(
    declared: Mapping[str, Declared], name: str, value: Value, origin: Origin, report: Report
) -> Value | None:
    """Return the value as it is submitted, or None after saying why it is not."""
    if name not in declared:
        if origin != "ours":  # a component without one of the tutorial's inputs can do without it
            _refuse(origin, report, *_unknown(name, declared))
        return None
    if name in FROM_THE_RUN:
        place = FROM_THE_RUN[name]
        what = f"Parameter '{name}' follows from {place}."
        _refuse(origin, report, what, f"Take it out and set {place}.")
        return None
    try:
        return _within(coerce(value, declared[name]), declared[name])
    except NotCoercible as error:
        what = f"Parameter '{name}' is {value!r}: {error}."
        _refuse(origin, report, what, _allowed(declared[name]))
        return None


def _refuse(origin: Origin, report: Report, what: str, change: str) -> None:
    if origin == "user":
        report.error(what, change)
    else:
        report.warn(f"The model's card: {what}", "It is left out; nothing to change.")


def _unknown(name: str, declared: Mapping[str, Declared]) -> tuple[str, str]:
    near = difflib.get_close_matches(name, declared, n=1, cutoff=0.4)
    hint = f"Did you mean '{near[0]}'?" if near else "Take it out of run.parameters."
    return f"The component has no input '{name}'.", hint


def _allowed(declared: Declared) -> str:
    if declared.enum:
        return f"Choose one of {', '.join(declared.enum)}."
    bounds = [
        f"{word} {bound:g}"
        for word, bound in (("at least", declared.min), ("at most", declared.max))
        if bound is not None
    ]
    return f"Give {_a(declared.type)}{', ' if bounds else ''}{' and '.join(bounds)}."


def _a(kind: str) -> str:
    return f"an {kind}" if kind[0] in "aeiou" else f"a {kind}"


def coerce(value: Any, declared: Declared) -> Value:
    """Return ``value`` as the declared type where nothing is lost by it.

    ``"5e-6"`` is the number 5e-06, ``"2"`` and ``2`` are the same integer, and ``True`` is the
    text ``"true"``; but 2.5 is no integer, and a truth value is no number.

    Raises:
        NotCoercible: it is not that type.
    """
    if declared.type == "string":
        return _as_text(value, declared.enum)
    if declared.type == "boolean":
        return _as_truth(value)
    if declared.type in ("integer", "number"):
        number = _as_decimal(value)
        return _as_integer(number) if declared.type == "integer" else _as_number(number)
    if not isinstance(value, str) or not value:
        raise NotCoercible(f"not the address of {_a(declared.type)}")
    return value


def _as_text(value: Any, enum: tuple[str, ...] | None) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str):
        folded = {one.lower(): one for one in enum or ()}
        truth = set(folded) == {
            "true",
            "false",
        }  # Python writes "True" where the component wants "true"
        return folded.get(value.lower(), value) if truth else value
    if isinstance(value, float):
        if not math.isfinite(value):
            raise NotCoercible("not a finite number")
        return str(int(value)) if value.is_integer() and abs(value) < 1e15 else repr(value)
    if isinstance(value, int):
        return str(value)
    raise NotCoercible("not a text")


def _as_truth(value: Any) -> bool:
    text = str(value).lower()
    if text not in ("true", "false"):
        raise NotCoercible("neither true nor false")
    return text == "true"


def _as_decimal(value: Any) -> Decimal:
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        raise NotCoercible("not a number")
    try:
        number = Decimal(repr(value)) if isinstance(value, float) else Decimal(value)
    except InvalidOperation:
        raise NotCoercible("not a number") from None
    if not number.is_finite() or abs(number.adjusted()) > 400:
        raise NotCoercible("not a finite number")
    return number


def _as_integer(number: Decimal) -> int:
    if number != number.to_integral_value():
        raise NotCoercible("not a whole number")
    return int(number)


def _as_number(number: Decimal) -> float:
    found = float(number)
    if not math.isfinite(found) or (found == 0) != (number == 0):
        raise NotCoercible("beyond what a floating-point number holds")
    return found


def _within(value: Value, declared: Declared) -> Value:
    if declared.enum and str(value) not in declared.enum:
        raise NotCoercible("not one of the values that the component knows")
    if not isinstance(value, str):
        if declared.min is not None and value < declared.min:
            raise NotCoercible(f"below its least value, {declared.min:g}")
        if declared.max is not None and value > declared.max:
            raise NotCoercible(f"above its greatest value, {declared.max:g}")
    return value


def _check_required(
    declared: Mapping[str, Declared], chosen: Mapping[str, Parameter], report: Report
) -> None:
    for name, one in declared.items():
        if not one.optional and one.default is None and name not in {*chosen, *FROM_THE_RUN}:
            report.error(
                f"The component needs '{name}', and nothing gives it.",
                f"Set it: run.parameters.other = {{{name!r}: ...}}.",
            )


def _check_combinations(values: Mapping[str, Value], report: Report) -> None:
    """Say which values the component's own checks refuse together, minutes into the job."""

    def on(name: str) -> bool:
        return values.get(name) == "true"

    rate = values.get("learning_rate")
    if isinstance(rate, int | float) and rate <= 0:
        report.error(f"learning_rate is {rate:g}.", "Choose one above 0.")
    for name, (least, switch, setting) in LEAST.items():
        value = values.get(name)
        counts = not switch or values.get(switch) == setting
        if counts and isinstance(value, int) and value < least:
            report.error(f"{name} is {value}.", f"Choose one of at least {least}.")
    if values.get("evaluation_strategy") == "steps" and not _has_evaluation_step(values):
        report.error(
            "evaluation_strategy is 'steps', and neither eval_steps nor "
            "evaluation_steps_interval is above 0.",
            "Set one of the two.",
        )
    if on("apply_deepspeed") and on("auto_find_batch_size"):
        report.error(
            "DeepSpeed cannot be coupled with auto_find_batch_size.",
            "Set one of apply_deepspeed and auto_find_batch_size to false.",
        )
    if on("apply_deepspeed") and values.get("deepspeed_stage") == "3" and on("apply_ort"):
        report.error(
            "DeepSpeed stage 3 does not work with ONNX Runtime.",
            "Set deepspeed_stage to 2, or apply_ort to false.",
        )
    if on("apply_early_stopping") and values.get("evaluation_strategy") == "disable":
        report.error(
            "Early stopping looks at evaluations, and evaluation_strategy is 'disable'.",
            "Set evaluation_strategy to epoch or steps, or apply_early_stopping to false.",
        )


def _has_evaluation_step(values: Mapping[str, Value]) -> bool:
    given = (values.get("eval_steps", 0), values.get("evaluation_steps_interval", 0))
    return any(isinstance(one, int | float) and one > 0 for one in given)


def _check_learning_rate(rate: Parameter | None, card: Mapping[str, Value], report: Report) -> None:
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
