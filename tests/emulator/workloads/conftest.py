"""The bench, the tiny base model, and prepared rows: made once for all tests of this folder."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from .bench import CACHE, Bench, Conversation, Ran, talk, write_rows

CONVERSATIONS = [
    talk("what colour is the sky", "The sky is blue today."),
    talk("what colour is the grass", "The grass is green today."),
    talk("what colour is the snow", "The snow is white today."),
    talk("what colour is the coal", "The coal is black today."),
    talk("what colour is the rose", "The rose is red today."),
    talk("what colour is the sun", "The sun is yellow today."),
]


@pytest.fixture(scope="session")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    found = Bench(tmp_path_factory.mktemp("bench"))
    found.open()
    yield found
    found.close()


@pytest.fixture(scope="session")
def base(bench: Bench) -> Path:
    """The registry's model: an MLflow folder of tiny weights."""
    ran = bench.run("base_weights.py", "--kind", "tiny", "--cache", CACHE)
    assert ran.code == 0, ran.log
    return Path(ran.sentence)


@pytest.fixture(scope="session")
def rows(bench: Bench) -> Path:
    return write_rows(bench.fresh() / "rows.jsonl", CONVERSATIONS)


@pytest.fixture(scope="session")
def model_folder(bench: Bench, base: Path) -> Path:
    ran = bench.step("model_import.py", {}, {"mlflow_model_path": base})
    assert ran.code == 0, ran.log
    return ran.out / "model_folder"


@pytest.fixture(scope="session")
def prepare(bench: Bench, model_folder: Path) -> Callable[[list[Conversation]], Path]:
    """Tokenise conversations, both to train and to evaluate on; the dataset's folder."""

    def prepared(conversations: list[Conversation]) -> Path:
        file = write_rows(bench.fresh() / "rows.jsonl", conversations)
        paths = {"model_folder": model_folder, "train_file_path": file, "test_file_path": file}
        ran = bench.step("preprocess.py", {}, paths)
        assert ran.code == 0, ran.log
        return ran.out / "dataset_folder"

    return prepared


@pytest.fixture(scope="session")
def dataset(prepare: Callable[[list[Conversation]], Path]) -> Path:
    return prepare(CONVERSATIONS)


Train = Callable[..., Ran]


@pytest.fixture(scope="session")
def train(bench: Bench, model_folder: Path, dataset: Path) -> Train:
    """Fine-tune with these parameters (over few, loud ones of our own)."""

    def trained(
        *, rows: Path | None = None, out: Path | None = None, fails: bool = False, **given: Any
    ) -> Ran:
        parameters = {
            "learning_rate": 5e-3,
            "per_device_train_batch_size": 2,
            "per_device_eval_batch_size": 4,
            "logging_steps": 1,
        } | given
        paths: dict[str, Path | str] = {
            "model_folder": model_folder,
            "dataset_folder": rows or dataset,
        }
        ran = bench.step("finetune.py", parameters, paths, out)
        assert (ran.code != 0) is fails, ran.log
        return ran

    return trained


@pytest.fixture(scope="session")
def convert(bench: Bench) -> Callable[[Ran], Path]:
    """The MLflow model folder of a fine-tune."""

    def converted(ran: Ran) -> Path:
        folder = ran.out / "pytorch_model_folder"
        made = bench.step("model_converter.py", {}, {"pytorch_model_folder": folder})
        assert made.code == 0, made.log
        return made.out / "mlflow_model_folder"

    return converted
