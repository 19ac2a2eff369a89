"""The fine-tune's parameters, settled before anything is submitted.

The user's choice counts first, then the model card's, then ours; the component's own defaults fill
the rest. Each value is held against what the component declares: name, type, enumeration, bounds.
The SDK checks none of this, and the job would fail on the GPU.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from typing import Literal

from pydantic import BaseModel, ConfigDict

from finetuning.planning.declared import Declared, NotCoercible, Value, coerce, with_article, within
from finetuning.planning.findings import Finding, Report

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
        return within(coerce(value, declared[name]), declared[name])
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
    return f"Give {with_article(declared.type)}{', ' if bounds else ''}{' and '.join(bounds)}."


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
