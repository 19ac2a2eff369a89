"""From what a job was submitted with to the inputs and outputs of its node."""

import re
from typing import Any

BINDING = re.compile(r"\$\{\{\s*parent\.inputs\.(?P<name>\w+)\s*\}\}")
OUTPUT_BINDING = re.compile(r"\$\{\{\s*parent\.outputs\.(?P<name>\w+)\s*\}\}")


def node_inputs(body: dict[str, Any], node: dict[str, Any]) -> dict[str, Any]:
    """A node's inputs with every ``${{parent.inputs.x}}`` replaced by what the job was given.

    Answers ``{name: {"value": literal} | {"uri": address}}``.
    """
    outer = body.get("inputs") or {}
    inputs = {}
    for name, given in (node.get("inputs") or {}).items():
        value: dict[str, Any] | None = given if isinstance(given, dict) else {"value": given}
        bound = BINDING.fullmatch(str((value or {}).get("value", "")).strip())
        if bound:
            value = _given(outer.get(bound["name"]))
        if value is not None:
            inputs[name] = value
    return inputs


def _given(value: dict[str, Any] | None) -> dict[str, Any] | None:
    """A pipeline-level input: ``{"jobInputType": "literal", "value": ...}`` or with ``uri``."""
    if value is None or (value.get("value") is None and value.get("uri") is None):
        return None
    return value


def literals(inputs: dict[str, Any]) -> dict[str, Any]:
    """The inputs that are values."""
    return {name: given["value"] for name, given in inputs.items() if "uri" not in given}


def addresses(inputs: dict[str, Any]) -> dict[str, str]:
    """The inputs that are data, by their addresses."""
    return {name: str(given["uri"]) for name, given in inputs.items() if given.get("uri")}


def bound_outputs(body: dict[str, Any], node: dict[str, Any]) -> dict[str, str]:
    """The pipeline's outputs by the component's: ``{"trained_model": "mlflow_model_folder"}``."""
    bound = {}
    for inner, given in (node.get("outputs") or {}).items():
        text = given.get("value", "") if isinstance(given, dict) else given
        match = OUTPUT_BINDING.fullmatch(str(text).strip())
        if match and match["name"] in (body.get("outputs") or {}):
            bound[match["name"]] = inner
    return bound


def output_places(body: dict[str, Any]) -> dict[str, str]:
    """Where the job wants its outputs, of those for which it says so."""
    outputs = body.get("outputs") or {}
    return {name: str(about["uri"]) for name, about in outputs.items() if (about or {}).get("uri")}
