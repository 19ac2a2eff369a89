"""The run from a command line: options, a file, and what is said of bad ones."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from finetuning.form.command_line import read_run
from finetuning.form.run import FineTune


def read(*argv: str) -> FineTune:
    return read_run(list(argv), "python -m flows.plan", "Plan a fine-tune.")


def test_every_field_is_an_option() -> None:
    found = read(
        *("--data.percentage", "1", "--endpoint.keep", "true", "--model.version", "null"),
        *("--parameters.deepspeed_stage", "3", "--parameters.other", "max_steps=4,lora_r=8"),
        *("--compute.steps.preprocess.instance_type", "Standard_D12_v2", "--budget", "60"),
    )

    assert found == FineTune.model_validate(
        {
            "data": {"percentage": 1},
            "endpoint": {"keep": True},
            "parameters": {"deepspeed_stage": 3, "other": {"max_steps": "4", "lora_r": "8"}},
            "compute": {"steps": {"preprocess": {"instance_type": "Standard_D12_v2"}}},
            "budget": 60,
        }
    )


def test_without_options_it_is_the_tutorials_run() -> None:
    assert read() == FineTune()


def test_the_environment_has_no_part_in_it(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("KEY", "MODEL", "TEST", "BUDGET"):
        monkeypatch.setenv(name, "1")

    assert read() == FineTune()


RUN = {"budget": 60, "data": {"percentage": 2, "seed": 1}}


@pytest.mark.parametrize("body", [RUN, {"run": RUN}, {"parameters": {"run": RUN}, "name": "x"}])
def test_a_file_holds_the_run_or_the_apis_body_and_an_option_goes_before_it(
    body: dict[str, Any], tmp_path: Path
) -> None:
    file = tmp_path / "run.json"
    file.write_text(json.dumps(body))

    found = read("--run", str(file), "--data.seed", "9")

    assert (found.budget, found.data.percentage, found.data.seed) == (60, 2, 9)


def test_a_runs_own_parameters_are_not_the_apis(tmp_path: Path) -> None:
    file = tmp_path / "run.json"
    file.write_text(json.dumps({"parameters": {"num_train_epochs": 2}}))

    assert read("--run", str(file)).parameters.num_train_epochs == 2


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        (["--data.percentage", "0"], "run.data.percentage: Input should be greater than 0"),
        (["--data.percentage", "much"], "run.data.percentage: "),
        (["--data.take", "tail"], "run.data.take: Input should be 'head' or 'sample'"),
        (["--parameters.other", "nonsense"], "--parameters.other: give several values"),
        (["--data", "{"], "--data: give several values"),
        (["--run", "none.json"], "none.json cannot be read"),
    ],
)
def test_a_bad_value_is_a_sentence_with_the_fields_name(argv: list[str], said: str) -> None:
    with pytest.raises(SystemExit, match=said) as ended:
        read(*argv)

    assert isinstance(ended.value.code, str)  # which Python prints, and ends with 1


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("{", "cannot be read as JSON"),
        ("[]", "does not hold a run"),
        ('{"run": 3}', "does not hold a run"),
        ('{"modle": {}}', "run.modle: no such field. Did you mean 'model'?"),
        ('{"model": {"nmae": "x"}}', "run.model.nmae: .* Did you mean 'name'?"),
        ('{"test": {"xyz": 1}}', r"run.test.xyz: no such field\.$"),
        ('{"model": 3, "data": {"seed": -1}}', "run.data.seed: "),
    ],
)
def test_a_bad_file_is_a_sentence(content: str, said: str, tmp_path: Path) -> None:
    file = tmp_path / "run.json"
    file.write_text(content)

    with pytest.raises(SystemExit, match=said):
        read("--run", str(file))


@pytest.mark.parametrize(
    ("argv", "near"),
    [
        (["--modle.name", "x"], "Did you mean --model.name?"),
        (["--data.percent=1"], "Did you mean --data.percentage?"),
        (["nonsense"], "unrecognized arguments: nonsense. --help lists the options."),
        (
            ["--set", "nonsense"],
            "unrecognized arguments: --set nonsense. Did you mean --preset?",
        ),
        (["--budget"], "expected one argument"),
    ],
)
def test_an_unknown_option_names_the_nearest(
    argv: list[str], near: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        read(*argv)

    assert ended.value.code == 2
    assert near in capsys.readouterr().err


def test_help_begins_with_a_line_of_usage_and_groups_the_fields(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with pytest.raises(SystemExit) as ended:
        read("--help")

    printed = capsys.readouterr().out
    assert ended.value.code == 0
    assert printed.startswith("usage: python -m flows.plan [--run FILE] [--FIELD VALUE ...]")
    assert "Plan a fine-tune." in printed
    assert "--help-all lists every field" in printed
