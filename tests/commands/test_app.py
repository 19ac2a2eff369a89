"""``fine-tune``: what it says, what it refuses, and that asking it costs nothing."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from finetuning.form.command_line import read_command
from finetuning.form.run import FineTune
from tests.conftest import run_python

#: Commands that read their own options, and those whose options are declared.
COMMANDS = ("demo", "up", "plan", "run", "status", "logs", "cancel", "report", "reap", "prices")
NOWHERE = {"PREFECT_API_URL": "http://127.0.0.1:9/api"}
SCREEN = 45


def told(*argv: str, env: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    return run_python({"COLUMNS": "100", **(env or {})}, "-m", "commands", *argv, seconds=100)


def test_the_help_names_every_command_and_fits_a_screen() -> None:
    done = told("--help")

    assert done.returncode == 0
    assert len(done.stdout.splitlines()) < SCREEN
    assert [one for one in COMMANDS if f" {one} " not in done.stdout] == []


@pytest.mark.parametrize("command", COMMANDS)
def test_the_help_of_a_command_fits_a_screen_and_says_its_name(command: str) -> None:
    done = told(command, "--help")

    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.lower().startswith(f"usage: fine-tune {command} ")
    assert len(done.stdout.splitlines()) < SCREEN


def test_asking_for_help_imports_nothing_heavy() -> None:
    heavy = "{'prefect', 'azure', 'pydantic', 'pandas', 'torch', 'datasets', 'httpx'}"
    program = f"""
import sys
from commands.app import app
app(["--help"], result_action="return_value")
assert not {heavy} & set(sys.modules), {heavy} & set(sys.modules)
"""

    done = run_python({}, "-c", program, seconds=100)

    assert done.returncode == 0, done.stderr
    assert "Fine-tune a chat model" in done.stdout


@pytest.mark.parametrize(
    "argv",
    [
        ["no-such-command"],
        ["status", "--no-such-option"],
        ["plan", "--modle.name", "x"],
        ["cancel"],
    ],
)
def test_a_wrong_option_ends_with_two_and_no_traceback(argv: list[str]) -> None:
    done = told(*argv)

    assert done.returncode == 2
    assert done.stderr and "Traceback" not in done.stderr


@pytest.mark.parametrize("argv", [["status"], ["logs"], ["cancel", "last"], ["run"], ["report"]])
def test_without_a_server_it_says_so_and_ends_with_one(argv: list[str]) -> None:
    done = told(*argv, env=NOWHERE)

    assert done.returncode == 1
    assert "The Prefect server http://127.0.0.1:9/api does not answer" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_bad_value_is_a_sentence_before_a_server_is_asked() -> None:
    done = told("run", "--data.percentage", "0", env=NOWHERE)

    assert done.returncode == 1
    assert done.stderr.startswith("run.data.percentage: Input should be greater than 0")


def test_the_price_table_is_text_or_json(tmp_path: Path) -> None:
    own = tmp_path / "prices.toml"
    own.write_text("[sizes.Standard_Own]\nper_hour = 1.25\n")

    text = told("prices", env={"FINETUNE_PRICES": str(own)})
    data = json.loads(told("prices", "--json", env={"FINETUNE_PRICES": str(own)}).stdout)

    assert "1.250  Standard_Own" in text.stdout
    assert data["sizes"]["Standard_Own"]["per_hour"] == 1.25
    refused = told("prices", env={"FINETUNE_PRICES": "/no/such/file.toml"})
    assert (refused.returncode, "Traceback" in refused.stderr) == (1, False)


def test_what_was_given_is_told_from_what_the_preset_fills(tmp_path: Path) -> None:
    file = tmp_path / "run.json"
    file.write_text(json.dumps({"run": {"test": {"rows": 2}, "more": {"key": "mine"}}}))
    argv = ["--run", str(file), "--data.percentage", "1", "--endpoint.keep", "true", "--go"]

    run, given, flags = read_command(argv, "x", "", {"go": "Go.", "stop": "Stop."})

    assert given == {
        "test": {"rows": 2},
        "key": "mine",
        "data": {"percentage": 1.0},
        "endpoint": {"keep": True},
    }
    assert (run, flags) == (FineTune.model_validate(given), {"go"})


def test_every_field_that_the_form_shows_at_once_is_in_the_short_help() -> None:
    short, whole = told("run", "--help").stdout, told("run", "--help-all").stdout

    for field in ("preset", "model.name", "data.percentage", "parameters.learning_rate", "budget"):
        assert f"--{field} " in short
    assert "--deadlines.poll_seconds" not in short and "--deadlines.poll_seconds" in whole
    assert "--json" in short and "--detach" in short
