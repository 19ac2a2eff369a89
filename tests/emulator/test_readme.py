"""What ``emulator/README.md`` says is so: its operations, latencies, options, faults, examples."""

import json
import os
import re
import subprocess
import sys

import pytest

from emulator.__main__ import parser
from emulator.faults import REQUEST_KINDS, SERVICE_KINDS
from emulator.latency import AZURE
from emulator.protocol import rules
from tests.conftest import ROOT
from tests.emulator.support import foreign_calls, sdk_calls

README = (ROOT / "emulator/README.md").read_text(encoding="utf-8")


def test_the_table_of_operations_is_the_codes_own():
    printed = subprocess.run(
        [sys.executable, "-m", "emulator", "operations"],
        cwd=ROOT, capture_output=True, text=True, check=True, timeout=30,
    )  # fmt: skip

    assert README.endswith("\n\n" + printed.stdout)


def test_the_table_of_the_sdks_calls_is_the_tests_own():
    assert f"\n\n{sdk_calls.table()}\n\n" in README


def test_the_table_of_foreign_clients_is_the_tests_own():
    assert f"\n\n{foreign_calls.table()}\n\n" in README


def block(language, begins):
    """The README's example that begins so."""
    found = re.findall(rf"```{language}\n(.*?)```", README, re.DOTALL)
    return next(one for one in found if one.startswith(begins))


def test_the_example_of_a_notebook_starts_an_emulator(tmp_path):
    code = block("python", "import os") + "print(azureml.admin)\n"
    ran = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path, capture_output=True, text=True, check=True, timeout=120,
    )  # fmt: skip

    assert ran.stdout.startswith("http://127.0.0.1:")
    assert (tmp_path / ".emulator/identity.json").exists()


def test_the_example_of_pytest_passes(tmp_path):
    (tmp_path / "test_example.py").write_text(block("python", "def test_"))
    # As if it were installed: the fixture comes by an entry point then.
    plugin = ["-p", "no:azureml-emulator", "-p", "emulator.pytest_plugin"]
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    ran = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", *plugin, "test_example.py"],
        cwd=tmp_path, env=env, capture_output=True, text=True, timeout=240, check=False,
    )  # fmt: skip

    assert ran.returncode == 0 and "1 passed" in ran.stdout, ran.stdout[-2000:]


def test_the_example_of_another_language_lists_the_models(emulator):
    script = block("sh", "eval").replace("--state .emulator", f"--state {emulator.state}")
    script = script.replace("python -m", f"{sys.executable} -m")
    ran = subprocess.run(
        ["bash", "-euc", script],
        cwd=ROOT, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip

    assert isinstance(json.loads(ran.stdout)["value"], list), ran.stderr


def test_the_table_of_rules_is_the_codes_own():
    assert rules.table() in README


@pytest.mark.parametrize("rule", rules.RULES, ids=lambda rule: rule.test)
def test_every_rule_has_its_test(rule):
    files = (ROOT / "tests/emulator").rglob("test_*.py")

    assert any(f"def {rule.test}(" in file.read_text(encoding="utf-8") for file in files)


@pytest.mark.parametrize("operation", AZURE)
def test_every_latency_is_told_with_its_seconds(operation):
    assert f"| `{operation}` | {AZURE[operation]:g} |" in README


def test_every_option_is_told():
    known = {text for action in parser()._actions for text in action.option_strings}
    text = re.sub(r"```.*?```", "", README, flags=re.DOTALL)  # curl has options of its own
    told = set(re.findall(r"(?<!-)--[a-z][a-z-]+", text))

    assert known - {"-h", "--help"} == told


def test_every_kind_of_fault_is_told():
    for kind in REQUEST_KINDS + SERVICE_KINDS:
        assert f"`{kind}`" in README


def test_every_variable_of_the_environment_is_told(emulator):
    for name in emulator.env:
        assert f"`{name.upper()}`" in README


def test_every_rule_of_storage_names_a_test_that_is_there():
    table = README.split("## Rules of storage")[1].split("\n## ")[0]
    named = re.findall(r"`(test_\w+)`", table)
    folder = ROOT / "tests/emulator/services"
    known = "".join(file.read_text() for file in folder.glob("test_s*.py"))

    assert len(named) > 15
    assert [name for name in named if f"def {name}(" not in known] == []
