"""Small MLflow models, written by hand: no training, no torch."""

import json
from pathlib import Path
from typing import Any

LOADER = """\
class Doubling:
    def predict(self, model_input, params=None):
        factor = (params or {}).get("factor", 2)
        if hasattr(model_input, "columns"):
            return model_input.assign(doubled=factor * model_input["x"])[["doubled"]]
        if isinstance(model_input, dict):
            return {name: (factor * value).tolist() for name, value in model_input.items()}
        return factor * model_input


def _load_pyfunc(path):
    return Doubling()
"""
COLUMNS = {
    "inputs": [{"type": "double", "name": "x", "required": True}],
    "outputs": [{"type": "double", "name": "doubled", "required": True}],
    "params": [{"name": "factor", "type": "long", "default": 2, "shape": None}],
}
TENSOR = {
    "inputs": [{"type": "tensor", "tensor-spec": {"dtype": "float64", "shape": [-1, 2]}}],
    "outputs": [{"type": "tensor", "tensor-spec": {"dtype": "float64", "shape": [-1, 2]}}],
}
ROWS = {"input_data": {"columns": ["x"], "index": [0, 1], "data": [[1], [2.5]]}}
DOUBLED = [{"doubled": 2.0}, {"doubled": 5.0}]
SCRIPT = """\
import json
import os
from pathlib import Path

from helper import PLUS


def init():
    global weight
    folder = Path(os.environ["AZUREML_MODEL_DIR"])
    weight = json.loads(next(folder.rglob("weight.json")).read_text())
    print("the weight is", weight)


def run(data):
    return {"sum": weight + PLUS + json.loads(data)["n"]}
"""


def write_model(folder: Path, signature: dict[str, Any] | None = None) -> Path:
    """A model that doubles what it is given; ``signature`` by default has columns."""
    (folder / "code").mkdir(parents=True)
    (folder / "data").mkdir()
    (folder / "data" / "nothing.txt").write_text("nothing is learned\n")
    (folder / "code" / "doubling.py").write_text(LOADER)
    about = {
        "flavors": {
            "python_function": {
                "loader_module": "doubling",
                "code": "code",
                "data": "data",
                "python_version": "3.11.0",
            }
        },
        "mlflow_version": "2.0.0",
    }
    told = COLUMNS if signature is None else signature
    if told:
        about["signature"] = {name: json.dumps(value) for name, value in told.items()}
    (folder / "MLmodel").write_text(json.dumps(about))  # JSON is YAML
    return folder


def write_script(folder: Path, script: str = SCRIPT) -> Path:
    """A scoring script and a module beside it."""
    folder.mkdir(parents=True)
    (folder / "helper.py").write_text("PLUS = 10\n")
    (folder / "score.py").write_text(script)
    return folder
