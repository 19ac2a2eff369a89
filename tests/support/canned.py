"""MLflow models that say what a test wants: real folders, registered and served as any other."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path

from finetuning.azure.client import open_client
from finetuning.azure.settings import Settings

MLMODEL = """\
flavors:
  python_function:
    loader_module: canned
    code: code
    python_version: 3.11.0
"""

#: What is asked, and what a good model answers.
QUESTIONS = [f"What is {number} and nothing else?" for number in range(6)]
GOOD, BAD = "yes it is", "no"

CODE = '''\
"""Answers every conversation alike; may be slow, or end its process at its n-th request."""

import json
import os
import time
from pathlib import Path


def _load_pyfunc(path):
    return Canned(**json.loads((Path(__file__).parent / "canned.json").read_text()))


class Canned:
    def __init__(self, answer, seconds, crashes_after):
        self.answer, self.seconds, self.crashes_after = answer, seconds, crashes_after
        self.asked = 0

    def predict(self, conversations, params=None):
        self.asked += 1
        if self.crashes_after and self.asked > self.crashes_after:
            os._exit(3)
        time.sleep(self.seconds)
        return [self.answer for _ in conversations]
'''


def register(
    settings: Settings,
    name: str,
    version: str,
    answer: str = GOOD,
    seconds: float = 0.0,
    crashes_after: int = 0,
) -> None:
    """Register a model that answers so; ``crashes_after`` so many requests its process ends."""
    from azure.ai.ml.entities import Model

    with tempfile.TemporaryDirectory() as place:
        folder = Path(place) / "model"
        (folder / "code").mkdir(parents=True)
        (folder / "MLmodel").write_text(MLMODEL)
        (folder / "code" / "canned.py").write_text(CODE)
        values = {"answer": answer, "seconds": seconds, "crashes_after": crashes_after}
        (folder / "code" / "canned.json").write_text(json.dumps(values))
        model = Model(name=name, version=version, path=str(folder), type="mlflow_model")
        open_client(settings).models.create_or_update(model)


def probes(folder: Path) -> str:
    """Write the probes that a good model passes; return the file's place."""
    file = folder / "probes.jsonl"
    rows = [
        {"messages": [{"role": "user", "content": one}], "check": {"regex": "^yes"}}
        for one in QUESTIONS
    ]
    file.write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    return str(file)
