"""Programs of a case: what they leave, and what is told of those that fail."""

import json

import pytest

from benchmarks.program import CaseFailed, leave, run_program


def test_a_program_leaves_what_it_saw_and_what_it_used(tmp_path):
    leave(tmp_path / "left.json", rows=3)

    left = json.loads((tmp_path / "left.json").read_text())
    assert left["rows"] == 3
    assert left["peak_mb"] > 10
    assert left["cpu_s"] > 0


def test_a_program_that_fails_is_named_with_its_log(tmp_path):
    with pytest.raises(CaseFailed, match=r"benchmarks\.programs ended with 2 .*log") as failed:
        run_program("benchmarks.programs", tmp_path, {}, "no-such-program")

    log = next(tmp_path.glob("run-*/log"))
    assert str(log) in str(failed.value)
    assert "invalid choice" in log.read_text()
