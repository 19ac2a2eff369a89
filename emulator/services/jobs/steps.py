"""The five published steps of the fine-tuning component, and what each program is handed."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

COMPONENT = "chat_completion_pipeline"


@dataclass(frozen=True)
class Step:
    """One step: its published name, its program, the inputs that choose its compute, its output.

    ``output`` is the folder the program makes under its ``--out``; ``path_name`` is the name under
    which later steps find that folder in their spec.
    """

    name: str
    program: str
    compute: str
    instance_type: str
    output: str | None = None


STEPS = (
    Step(
        "ft_nlp_common_validation",
        "validation.py",
        "compute_model_import",
        "instance_type_model_import",
    ),
    Step(
        "chat_completion_model_import",
        "model_import.py",
        "compute_model_import",
        "instance_type_model_import",
        "model_folder",
    ),
    Step(
        "chat_completion_datapreprocess",
        "preprocess.py",
        "compute_preprocess",
        "instance_type_preprocess",
        "dataset_folder",
    ),
    Step(
        "chat_completion_finetune",
        "finetune.py",
        "compute_finetune",
        "instance_type_finetune",
        "pytorch_model_folder",
    ),
    Step(
        "ft_nlp_model_converter",
        "model_converter.py",
        "compute_finetune",
        "instance_type_finetune",
        "mlflow_model_folder",
    ),
)

PATH_TYPES = ("uri_file", "uri_folder", "mltable", "mlflow_model", "custom_model", "triton_model")


def declared(component: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """The component's declared inputs, ``{name: {"type": ..., "default": ...}}``."""
    inputs: dict[str, dict[str, Any]] = component.get("inputs") or {}
    return inputs


def typed(text: object, kind: str) -> object:
    """A literal as its declared type; what does not parse stays text, for validation to refuse."""
    if not isinstance(text, str):
        return text
    try:
        return {"integer": int, "number": float}.get(kind, str)(text)
    except ValueError:
        return text


def parameters(component: dict[str, Any], given: dict[str, Any]) -> dict[str, Any]:
    """Values of all declared inputs that are not paths: the given ones over the defaults."""
    values = {}
    for name, about in declared(component).items():
        if about.get("type") in PATH_TYPES:
            continue
        value = given.get(name, about.get("default"))
        if value is not None:
            values[name] = typed(value, str(about.get("type")))
    return values


def spec(
    values: dict[str, Any], inputs: dict[str, str], outputs: dict[str, Path]
) -> dict[str, Any]:
    """The document that a step's program reads: ``{"parameters": ..., "paths": ...}``."""
    paths = {**inputs, **{name: str(path) for name, path in outputs.items()}}
    return {"parameters": values, "paths": paths}
