"""What is published: the code, the data that it reads, and nothing else."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from pathlib import Path

import pytest

from tests.conftest import ROOT

PACKAGES = ("commands", "flows", "tasks", "finetuning", "deployments", "emulator")
DATA = {
    "finetuning/planning/prices.toml",
    "finetuning/planning/lifecycle.toml",
    "finetuning/evaluation/general.jsonl",
    *(
        f"finetuning/recipes/presets/{path.name}"
        for path in ROOT.glob("finetuning/recipes/presets/*")
    ),
}
BUILD = """
import sys
from setuptools import build_meta
target = sys.argv[1]  # which the builds overwrite
build_meta.build_sdist(target)
build_meta.build_wheel(target)
"""


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the wheel and the source distribution, built from what git tracks."""
    source, target = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("built")
    tracked = ["git", "ls-files", "--cached", "--others", "--exclude-standard"]
    listed = subprocess.run(tracked, cwd=ROOT, capture_output=True, text=True, check=True)
    for name in listed.stdout.split():
        if (ROOT / name).is_file() and not name.startswith("docs/images"):
            (source / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, source / name)
    command = [sys.executable, "-c", BUILD, str(target)]
    done = subprocess.run(command, cwd=source, capture_output=True, text=True, timeout=200)
    assert done.returncode == 0, done.stderr[-2000:]
    return target


def of_the_wheel(built: Path) -> set[str]:
    (wheel,) = built.glob("*.whl")
    return set(zipfile.ZipFile(wheel).namelist())


def of_the_source(built: Path) -> set[str]:
    (sdist,) = built.glob("*.tar.gz")
    with tarfile.open(sdist) as archive:
        return {one.name.split("/", 1)[1] for one in archive if one.isfile()}


def test_the_wheel_has_the_code_the_data_that_it_reads_and_nothing_else(built: Path) -> None:
    names = {name for name in of_the_wheel(built) if ".dist-info/" not in name}

    assert {name.split("/")[0] for name in names} == set(PACKAGES)
    data = {name for name in names if not name.endswith(".py")}
    assert {name for name in data if not name.startswith("emulator/")} == DATA
    tracked = {str(path.relative_to(ROOT)) for path in (ROOT / "emulator").rglob("*.yaml")}
    assert {name for name in data if name.startswith("emulator/")} == tracked
    code = {str(path.relative_to(ROOT)) for one in PACKAGES for path in (ROOT / one).rglob("*.py")}
    assert names - data == code


def test_the_source_distribution_adds_only_what_a_build_needs_and_a_reader_wants(
    built: Path,
) -> None:
    beside = of_the_source(built) - of_the_wheel(built)

    assert {name for name in beside if ".egg-info/" not in name} == {
        "LICENSE",
        "MANIFEST.in",
        "PKG-INFO",
        "README.md",
        "pyproject.toml",
        "setup.cfg",
    }


def test_the_wheel_brings_the_command_and_asks_for_no_torch(built: Path) -> None:
    (wheel,) = built.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        named = {Path(name).name: name for name in archive.namelist() if ".dist-info/" in name}
        entries = archive.read(named["entry_points.txt"]).decode()
        needed = archive.read(named["METADATA"]).decode()

    assert "fine-tune = commands.app:main" in entries
    always = [
        line
        for line in needed.splitlines()
        if line.startswith("Requires-Dist:") and "extra ==" not in line
    ]
    assert [line for line in always if "torch" in line or "transformers" in line] == []
    assert tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"] in wheel.name


def test_the_installed_command_runs_without_the_checkout(built: Path, tmp_path: Path) -> None:
    """As ``pip install`` unpacks it, beside this environment's other packages; no torch is met."""
    (wheel,) = built.glob("*.whl")
    zipfile.ZipFile(wheel).extractall(tmp_path / "site")
    program = f"""
import sys
sys.path = [p for p in sys.path if p not in ("", {str(ROOT)!r})]
sys.path.insert(0, {str(tmp_path / "site")!r})
sys.meta_path = [one for one in sys.meta_path if "editable" not in repr(one)]
sys.modules["torch"] = None
sys.argv = ["fine-tune", *sys.argv[1:]]
from commands import app
assert app.__file__.startswith({str(tmp_path)!r}), app.__file__
app.main()
"""

    def run(*argv: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-c", program, *argv]
        return subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=100)

    assert "Standard_NC24ads_A100_v4" in run("prices").stdout
    assert "--preset" in run("plan", "--help").stdout
    wrong = run("plan", "--preset", "phi4")
    assert wrong.returncode == 1 and "There are phi-4, gpt-oss-20b, laptop" in wrong.stderr
    up = run("up")
    assert up.returncode == 1 and "git clone" in up.stderr and "Traceback" not in up.stderr
