"""The MLflow model folder: what the registry's models are, and what a fine-tune makes.

MLmodel                  flavor python_function, loader_module chat_model
code/chat_model.py       how it is loaded: a copy, so that the folder is whole
code/chat_text.py
data/model/              configuration, weights, tokenizer, as transformers saves them
data/adapter/            a LoRA adapter that was not merged, where there is one
"""

import datetime
import json
import shutil
import sys
import uuid
from importlib.metadata import version
from pathlib import Path
from typing import Any

import yaml
from chat_model import DEFAULTS

CODE = ("chat_model.py", "chat_text.py")
REQUIREMENTS = ("mlflow", "torch", "transformers", "peft", "tokenizers", "jinja2")
NOT_THE_MODEL = ("adapter", "imported_from.json", "trained.json")
KINDS = {bool: "boolean", int: "long", float: "double"}


def write(folder: Path, model: Path, *, adapter: Path | None, metadata: dict[str, str]) -> None:
    """Make the folder from a model's folder (and an adapter's)."""
    here = Path(__file__).parent
    shutil.copytree(model, folder / "data" / "model", ignore=shutil.ignore_patterns(*NOT_THE_MODEL))
    if adapter is not None:
        shutil.copytree(adapter, folder / "data" / "adapter")
    (folder / "code").mkdir()
    for name in CODE:
        shutil.copy(here / name, folder / "code" / name)
    python = ".".join(str(part) for part in sys.version_info[:3])
    requirements = [f"{name}=={version(name).split('+')[0]}" for name in REQUIREMENTS]
    (folder / "requirements.txt").write_text("\n".join(requirements) + "\n")
    environment = {"python": python, "dependencies": ["-r requirements.txt"]}
    (folder / "python_env.yaml").write_text(yaml.safe_dump(environment))
    (folder / "MLmodel").write_text(yaml.safe_dump(about(python, metadata)))


def about(python: str, metadata: dict[str, str]) -> dict[str, Any]:
    """The MLmodel document."""
    parameters = [
        {"name": name, "type": KINDS[type(default)], "default": default, "shape": None}
        for name, default in DEFAULTS.items()
    ]
    return {
        "flavors": {
            "python_function": {
                "loader_module": "chat_model",
                "code": "code",
                "data": "data",
                "env": {"virtualenv": "python_env.yaml"},
                "python_version": python,
            }
        },
        "metadata": metadata,
        "mlflow_version": version("mlflow"),
        "model_uuid": uuid.uuid4().hex,
        "signature": {"inputs": None, "outputs": None, "params": json.dumps(parameters)},
        "utc_time_created": str(datetime.datetime.now(datetime.UTC).replace(tzinfo=None)),
    }


def model_of(folder: Path) -> Path:
    """The model's own folder inside an MLflow folder, or the folder itself if it is a plain one."""
    inner = folder / "data" / "model"
    return inner if inner.is_dir() else folder


def metadata_of(folder: Path) -> dict[str, str]:
    """What an MLflow folder says about its weights."""
    file = folder / "MLmodel"
    if not file.exists():
        return {}
    return dict(yaml.safe_load(file.read_text()).get("metadata") or {})
