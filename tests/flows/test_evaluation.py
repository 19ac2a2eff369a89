"""A run that is evaluated ends in a verdict: better data is promoted, equal data is held."""

from __future__ import annotations

import json
import random
import uuid
from pathlib import Path
from typing import Any

import pytest

from finetuning.azure.client import open_client
from finetuning.azure.settings import load_settings
from finetuning.errors import SuiteError
from finetuning.form.results import Result
from flows.fine_tune import fine_tune
from tasks.evaluation import CHAMPION_TAG, VERDICT_TAG, crown, find_champion
from tests.conftest import RunningEmulator
from tests.support.runs import small

pytestmark = pytest.mark.slow

ANSWER = "yes yes yes yes"
ROWS = 30


def conversations(file: Path, rows: int, seed: int) -> str:
    """Questions of random letters, all with one answer; another seed, other questions."""
    draw = random.Random(seed)
    words = ["".join(draw.choices("abcdefgh", k=5)) for _ in range(rows * 6)]
    lines = []
    for row in range(rows):
        question = " ".join(words[row * 6 : row * 6 + 6])
        messages = [
            {"role": "user", "content": question},
            {"role": "assistant", "content": ANSWER},
        ]
        lines.append(json.dumps({"prompt": question, "prompt_id": question, "messages": messages}))
    file.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return str(file)


@pytest.fixture
def files(tmp_path: Path) -> dict[str, str]:
    names = ("train_sft", "test_sft", "train_gen", "test_gen")
    return {
        name: conversations(tmp_path / f"{name}.jsonl", ROWS, seed)
        for seed, name in enumerate(names)
    }


def trained(name: str, files: dict[str, str], steps: int, **evaluation: Any) -> Result:
    other = {"max_steps": steps, "max_seq_length": 96, "logging_steps": 1}
    run = small(
        uuid.uuid4().hex,
        registered_name=name,
        data={"files": files, "percentage": 100},
        parameters={"learning_rate": 5e-3, "apply_lora": False, "other": other},
        evaluation={
            "compare": "kept",
            "max_new_tokens": 8,
            "own": {"rows": ROWS, "metric": "chrf"},
            **evaluation,
        },
    )
    return fine_tune(run)


def tags_of(result: Result) -> dict[str, str]:
    models = open_client(load_settings()).models
    return dict(models.get(result.registered.name, version=result.registered.version).tags)


def decision(result: Result) -> str:
    assert result.verdict is not None
    return result.verdict.decision


def test_better_data_is_promoted_and_equal_data_is_held(
    stage: RunningEmulator, files: dict[str, str]
) -> None:
    name = f"judged-{uuid.uuid4().hex[:8]}"

    first = trained(name, files, steps=1)

    assert decision(first) == "hold"
    assert first.verdict is not None and "(there is none)" in first.verdict.why
    assert CHAMPION_TAG not in tags_of(first)

    crown(load_settings(), first.registered)
    better = trained(name, files, steps=60, crown=True)

    assert decision(better) == "promote"
    assert better.verdict is not None
    own = better.verdict.suites[0]
    assert own.difference is not None and own.difference.low > 0
    assert (own.difference.rows, own.candidate.answers) == (ROWS, ROWS)
    assert own.candidate.p95 >= own.candidate.p50 > 0
    tags = tags_of(better)
    assert (tags[VERDICT_TAG], tags[CHAMPION_TAG]) == ("promote", "true")
    assert tags_of(first)[CHAMPION_TAG] == "false"
    card, version = tags["finetune.card"].removeprefix("azureml:").split(":")
    assert open_client(load_settings()).data.get(card, version=version).type == "uri_folder"

    equal = trained(name, files, steps=60, crown=True)

    assert decision(equal) == "hold"
    assert equal.verdict is not None and equal.verdict.champion.version == better.registered.version
    assert tags_of(better)[CHAMPION_TAG] == "true"
    assert stage.summary()["endpoints"] == []

    crown_twice(better, first)


def crown_twice(better: Result, first: Result) -> None:
    """Two champions are one too many, and are told."""
    models = open_client(load_settings()).models
    other = models.get(first.registered.name, version=first.registered.version)
    other.tags[CHAMPION_TAG] = "true"
    models.create_or_update(other)

    elsewhere = first.registered.model_copy(update={"version": "none"})
    with pytest.raises(SuiteError, match=f"have the tag {CHAMPION_TAG}"):
        find_champion(load_settings(), elsewhere)


def test_a_suite_that_was_trained_on_is_refused_before_a_job_is_submitted(
    stage: RunningEmulator, files: dict[str, str]
) -> None:
    before = stage.summary()["jobs_started"]

    with pytest.raises(SuiteError, match=r"'own' is in the training data with 30 of its 30 rows"):
        trained("leaked", {**files, "test_gen": files["train_sft"]}, steps=1)

    assert stage.summary()["jobs_started"] == before
    assert stage.summary()["endpoints"] == []
