"""What an MLflow model is asked: ``{"input_data": ..., "params": {...}}`` as its signature says.

Columns: ``{"columns": [...], "index": [...], "data": [[...], ...]}``. A tensor: a list; named
tensors: an object of lists. Without a signature the shape decides. The rules, and that what the
model raises is 500 without its text, are those of Azure's scoring script for MLflow models:
Azure/azureml-assets, mlflow_score_script.py; of its server: azureml-inference-server,
``server/input_parsers.py``.
"""

import json
import traceback
from typing import Any

FAILED = "An unexpected error occurred in scoring script. Check the logs for more info."
KINDS = {"integer": "integer", "long": "integer", "float": "number", "double": "number",
         "boolean": "boolean"}  # fmt: skip


class BadInput(Exception):
    """What is wrong with a request before the model sees it."""


def read(body: bytes) -> tuple[Any, dict[str, Any] | None]:
    """The input and the parameters. Raises BadInput."""
    if not body:
        raise BadInput("POST body is empty. Expecting a JSON dictionary.")
    try:
        asked = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise BadInput(f"POST body could not be decoded as JSON: {error}") from None
    if not isinstance(asked, dict):
        raise BadInput("POST body should be a JSON dictionary.")
    if "input_data" not in asked:
        raise BadInput("A value is not provided for the 'input_data' parameter.")
    return asked["input_data"], asked.get("params")


class PyfuncScoring:
    """A loaded MLflow model with the flavor python_function."""

    def __init__(self, model: Any) -> None:
        self._model = model
        signature = model.metadata.signature
        self._inputs = signature.inputs if signature else None
        self._outputs = signature.outputs if signature else None

    def respond(self, body: bytes) -> tuple[int, Any]:
        """Status and answer of a scoring request."""
        try:
            asked, params = read(body)
        except BadInput as error:
            return 400, {"message": str(error)}
        try:
            return 200, plain(self._model.predict(taken(asked, self._inputs), params=params))
        except Exception:
            traceback.print_exc()
            return 500, {"message": FAILED}

    def schemas(self) -> tuple[dict[str, Any], dict[str, Any]]:
        """What it is asked and what it answers, as JSON Schemas."""
        asked = {"input_data": schema(self._inputs, "split"), "params": {"type": "object"}}
        inputs = {"type": "object", "properties": asked, "required": ["input_data"]}
        return inputs, schema(self._outputs, "records")


def taken(asked: Any, inputs: Any) -> Any:
    """The input as the model takes it: a frame, an array, named arrays. Raises what is wrong."""
    import numpy

    if inputs is None or not inputs.inputs:
        return guessed(asked)
    if not inputs.is_tensor_spec():
        return typed(frame(asked), inputs)
    if not inputs.has_input_names():
        return numpy.asarray(asked, dtype=inputs.inputs[0].type)
    kinds = {one.name: one.type for one in inputs.inputs}
    return {name: numpy.asarray(value, dtype=kinds.get(name)) for name, value in asked.items()}


def guessed(asked: Any) -> Any:
    """The input of a model without a signature."""
    import numpy

    if isinstance(asked, list):
        return numpy.asarray(asked)
    if isinstance(asked, dict) and {"columns", "index", "data"} <= asked.keys():
        return frame(asked)
    if isinstance(asked, dict):
        return {name: numpy.asarray(value) for name, value in asked.items()}
    return asked


def frame(asked: Any) -> Any:
    """A frame of split columns. Raises ValueError: the input is something else."""
    import pandas

    if not isinstance(asked, dict) or not {"columns", "data"} <= asked.keys():
        raise ValueError("The model takes columns: input_data has 'columns', 'index' and 'data'.")
    return pandas.DataFrame(**{key: asked.get(key) for key in ("data", "index", "columns")})


def typed(found: Any, inputs: Any) -> Any:
    """The frame with the signature's types; MLflow says what is missing."""
    if not inputs.has_input_names():
        return found
    kinds = dict(zip(inputs.input_names(), inputs.pandas_types(), strict=True))
    return found.astype({name: kind for name, kind in kinds.items() if name in found.columns})


def plain(result: Any) -> Any:
    """The answer as JSON can have it; a frame is a list of rows."""
    import pandas

    if isinstance(result, pandas.Series):
        result = result.to_frame()
    if isinstance(result, pandas.DataFrame):
        return json.loads(result.to_json(orient="records"))
    return result.tolist() if hasattr(result, "tolist") else result


def schema(spec: Any, orient: str) -> dict[str, Any]:
    """The JSON Schema of a signature's inputs or outputs; any object where it says nothing."""
    if spec is None or not spec.inputs:
        return {"type": "object", "example": {}}
    if spec.is_tensor_spec():
        parts = {one.name: tensor(one) for one in spec.inputs}
        return {"type": "object", "properties": parts} if spec.has_input_names() else parts[None]
    columns = {str(one.name or place): column(one) for place, one in enumerate(spec.inputs)}
    if orient == "records":
        return {"type": "array", "items": {"type": "object", "properties": columns}}
    data = {"type": "array", "items": {"type": "array", "items": {}}}
    return {
        "type": "object",
        "properties": {
            "columns": {"type": "array", "items": {"type": "string"}},
            "index": {"type": "array", "items": {"type": "integer"}},
            "data": data,
        },
        "example": {"columns": list(columns), "index": [0], "data": [[]]},
        "x-columns": columns,
    }


def tensor(spec: Any) -> dict[str, Any]:
    found: dict[str, Any] = {"type": "boolean" if spec.type.kind == "b" else "number"}
    for _ in spec.shape:
        found = {"type": "array", "items": found}
    return found


def column(spec: Any) -> dict[str, Any]:
    return {"type": KINDS.get(getattr(spec.type, "name", ""), "string")}
