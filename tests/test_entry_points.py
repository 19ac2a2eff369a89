"""No program of ours does anything on ``--help``, or on an argument that it does not know."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import ROOT

#: What people start; programs that only others of ours start take their arguments as they are.
FOLDERS = ("commands", "flows", "deployments", "emulator")
OF_THE_EMULATOR = (
    "emulator.processes.preload",
    "emulator.processes.leash",
    "emulator.services.tracking.program",
)


def programs() -> list[str]:
    """The modules with a main guard, as ``python -m`` names them."""
    paths = [path for folder in FOLDERS for path in sorted((ROOT / folder).rglob("*.py"))]
    guarded = [path for path in paths if '\nif __name__ == "__main__":' in path.read_text("utf-8")]
    modules = [".".join(path.relative_to(ROOT).with_suffix("").parts) for path in guarded]
    named = [one.removesuffix(".__main__") for one in modules]
    return [one for one in named if "workloads" not in one and not one.startswith(OF_THE_EMULATOR)]


def begin(program: str, argument: str, folder: Path) -> subprocess.Popen[str]:
    """Start a program in an empty folder, with a Prefect server that is not there."""
    env = {
        **os.environ,
        "PYTHONPATH": str(ROOT),
        "PREFECT_API_URL": "http://127.0.0.1:9/api",
        "PREFECT_HOME": str(folder / "prefect"),
        "FINETUNE_EVENTS_KEY": "long-enough-to-listen",
    }
    return subprocess.Popen(
        [sys.executable, "-m", program, argument],
        cwd=folder,
        env=env,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def test_there_are_programs() -> None:
    assert {"deployments.demo", "deployments.serve", "flows.plan", "emulator"} <= set(programs())
    assert "flows.demo" not in programs()


@pytest.mark.parametrize("program", programs())
def test_help_and_an_unknown_argument_do_nothing(program: str, tmp_path: Path) -> None:
    helped, refused = (begin(program, one, tmp_path) for one in ("--help", "--no-such-option"))

    usage, _ = helped.communicate(timeout=60)
    _, complaint = refused.communicate(timeout=60)

    assert (helped.returncode, refused.returncode) == (0, 2)
    assert usage.startswith(f"usage: python -m {program}")
    assert "error: " in complaint and "Traceback" not in complaint
    made = {path for path in tmp_path.rglob("*") if path.is_file()}
    assert {path for path in made if "prefect" not in path.parts} == set()
