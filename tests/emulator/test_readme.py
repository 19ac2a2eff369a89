"""What ``emulator/README.md`` says is so: its routes, latencies, options, faults."""

import re
import subprocess
import sys

import pytest

from emulator.__main__ import parser
from emulator.faults import REQUEST_KINDS, SERVICE_KINDS
from emulator.latency import AZURE
from emulator.protocol import rules
from tests.conftest import ROOT

README = (ROOT / "emulator/README.md").read_text(encoding="utf-8")


def test_the_table_of_routes_is_the_codes_own():
    printed = subprocess.run(
        [sys.executable, "-m", "emulator", "operations"],
        cwd=ROOT, capture_output=True, text=True, check=True, timeout=30,
    )  # fmt: skip

    assert README.endswith("\n\n" + printed.stdout)


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
    told = set(re.findall(r"(?<!-)--[a-z][a-z-]+", README))

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
