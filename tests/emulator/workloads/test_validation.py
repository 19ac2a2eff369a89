"""The first step: what is wrong with parameters, files and rows is said in one sentence."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from .bench import WORKLOADS, Bench, Ran, talk

GOOD = json.dumps({"prompt": "hello", "messages": talk("hello", "you"), "prompt_id": "1"})


@pytest.fixture
def paths(base: Path, rows: Path) -> dict[str, Path | str]:
    return {"mlflow_model_path": base, "train_file_path": rows, "test_file_path": rows}


def refused(bench: Bench, parameters: dict[str, Any], paths: dict[str, Path | str]) -> str:
    ran = bench.step("validation.py", parameters, paths)
    assert ran.code == 1, ran.log
    return ran.sentence


def test_the_rows_of_good_files_are_counted(bench: Bench, paths: dict[str, Path | str]) -> None:
    ran = bench.step("validation.py", {"learning_rate": 5e-6, "apply_lora": "true"}, paths)

    assert ran.code == 0, ran.log
    assert ran.sentence == "validated: train_file_path has 6 rows, test_file_path has 6 rows"


@pytest.mark.parametrize(
    ("name", "value", "sentence"),
    [
        ("task_name", "Chat", "Input 'task_name' is 'Chat', not one of ChatCompletion."),
        (
            "optim",
            "sgd",
            "Input 'optim' is 'sgd', not one of adamw_torch, adafactor.",
        ),
        ("precision", 8, "Input 'precision' is '8', not one of 32, 16."),
        ("deepspeed_stage", "1", "Input 'deepspeed_stage' is '1', not one of 2, 3."),
        ("apply_lora", "yes", "Input 'apply_lora' is 'yes', not one of true, false."),
        ("apply_lora", True, "Input 'apply_lora' is 'True', not one of true, false."),
        ("num_train_epochs", 0, "Input 'num_train_epochs' is 0; it must be at least 1."),
        ("num_train_epochs", 1.5, "Input 'num_train_epochs' is 1.5, not a whole number."),
        ("num_train_epochs", "many", "Input 'num_train_epochs' is 'many', not a number."),
        ("warmup_steps", -1, "Input 'warmup_steps' is -1; it must be at least 0."),
        ("lora_r", 0, "Input 'lora_r' is 0; it must be at least 1."),
        ("lora_dropout", 1, "Input 'lora_dropout' is 1; it must be at least 0 and below 1."),
        ("adam_beta2", 1.0, "Input 'adam_beta2' is 1.0; it must be at least 0 and below 1."),
        ("learning_rate", -1e-5, "Input 'learning_rate' is -1e-05; it must not be negative."),
        ("learning_rate", "nan", "Input 'learning_rate' is 'nan', not a number."),
        ("learning_rate", "inf", "Input 'learning_rate' is 'inf', not a number."),
        ("logging_steps", 0, "Input 'logging_steps' is 0; it must be at least 1."),
    ],
)
def test_a_value_that_makes_no_sense_is_refused(
    bench: Bench, paths: dict[str, Path | str], name: str, value: Any, sentence: str
) -> None:
    assert refused(bench, {name: value}, paths) == sentence


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        (f"{GOOD}\n{{broken\n", "rows.jsonl, line 2: not JSON ("),
        (f"{GOOD}\n\n[1]\n", "rows.jsonl, line 3: not a JSON object."),
        (
            f'{GOOD}\n{{"messages": [], "answer": 1}}\n',
            "rows.jsonl, line 2: unknown columns answer; known are messages, prompt, prompt_id.",
        ),
        (
            '{"prompt": "hello"}\n',
            "rows.jsonl, line 1: column 'messages' is missing, empty or not a list.",
        ),
        (
            '{"messages": [{"role": "user"}]}\n',
            "rows.jsonl, line 1: messages[0].content is not text.",
        ),
        (
            '{"messages": [{"role": "bot", "content": "hello"}]}\n',
            "rows.jsonl, line 1: messages[0].role is 'bot', not one of system, developer, user, "
            "assistant.",
        ),
        ("", "Input 'test_file_path': rows.jsonl has no rows."),
        ("\n\n", "Input 'test_file_path': rows.jsonl has no rows."),
        (b"\xff\xfe{\n", "rows.jsonl, line 1: not JSON ("),
    ],
)
def test_a_file_that_is_not_as_it_must_be_is_refused(
    bench: Bench,
    paths: dict[str, Path | str],
    tmp_path: Path,
    text: str | bytes,
    sentence: str,
) -> None:
    file = tmp_path / "rows.jsonl"
    file.write_bytes(text.encode() if isinstance(text, str) else text)

    said = refused(bench, {}, paths | {"test_file_path": file})

    assert said.startswith(sentence)


def test_missing_inputs_are_named(
    bench: Bench, paths: dict[str, Path | str], tmp_path: Path
) -> None:
    nowhere = tmp_path / "nowhere.jsonl"

    def without(name: str) -> dict[str, Path | str]:
        return {key: path for key, path in paths.items() if key != name}

    assert refused(bench, {}, without("train_file_path")) == (
        "Input 'train_file_path' was not given: there is nothing to train on."
    )
    assert refused(bench, {}, without("mlflow_model_path")) == (
        "Neither 'mlflow_model_path' nor 'pytorch_model_path' was given."
    )
    assert refused(bench, {}, paths | {"train_file_path": nowhere}) == (
        f"Input 'train_file_path': there is nothing at '{nowhere}'."
    )
    assert refused(bench, {}, paths | {"train_file_path": tmp_path}) == (
        "Input 'train_file_path' is a folder; a JSON Lines file was expected."
    )
    assert "this emulator reads no MLTable; give 'train_file_path'" in refused(
        bench, {}, paths | {"train_mltable_path": tmp_path}
    )


def test_files_that_are_not_read_are_named(bench: Bench, paths: dict[str, Path | str]) -> None:
    ran = bench.step("validation.py", {}, paths | {"deepspeed": paths["train_file_path"]})

    assert "accepted without effect: deepspeed=rows.jsonl (it is not read)" in ran.log


def test_a_step_is_a_program_of_its_own(paths: dict[str, Path | str], tmp_path: Path) -> None:
    spec = tmp_path / "spec.json"
    given = {name: str(path) for name, path in paths.items()}
    spec.write_text(json.dumps({"parameters": {"optim": "sgd"}, "paths": given}))
    command = [sys.executable, WORKLOADS / "validation.py", "--spec", spec, "--out", tmp_path / "o"]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)

    assert ended.returncode == 1
    assert ended.stdout == ""
    assert ended.stderr == "Input 'optim' is 'sgd', not one of adamw_torch, adafactor.\n"


@pytest.mark.parametrize("text", ["no json", "[]", '{"parameters": {}}'])
def test_a_spec_that_is_none_is_refused(bench: Bench, tmp_path: Path, text: str) -> None:
    spec = tmp_path / "spec.json"
    spec.write_text(text)

    ran: Ran = bench.run("validation.py", "--spec", spec, "--out", tmp_path)

    assert ran.code == 1
    assert ran.sentence.startswith(f"The spec '{spec}' is not JSON with 'parameters' and 'paths'")
