"""How figures are asked for, printed and kept."""

import json
import subprocess
import sys

import pytest

from benchmarks import report
from benchmarks.report import Figure, filled, main, publish, table


@pytest.mark.parametrize(
    "measured, at_most, holds",
    [(0.7, 0.8, True), (0.9, 0.8, False), (0.9, None, None), (None, 0.8, None)],
)
def test_a_figure_holds_where_it_was_measured_and_is_at_most_its_target(measured, at_most, holds):
    assert Figure("a", measured, at_most=at_most).holds is holds


def test_what_is_printed_says_ratio_target_machine_and_versions(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(report, "REPORT", tmp_path / "report.json")
    publish("wall", [Figure("cold", 0.71, "x", 0.8)], {}, load_before=0.2)

    printed = capsys.readouterr().out
    for part in ("## wall", "| cold | 0.710 x | 0.8 | yes |", "cores, load", "prefect 3"):
        assert part in printed


def test_the_report_keeps_what_other_groups_wrote(tmp_path, monkeypatch):
    monkeypatch.setattr(report, "REPORT", tmp_path / "report.json")
    publish("wall", [Figure("cold", 0.9, "x", 0.8)], {"scale": 0.05}, load_before=0.2)
    publish("waiting", [Figure("200", None, "MB", note="no room")], {}, load_before=4.0)

    groups = json.loads((tmp_path / "report.json").read_text())["groups"]
    assert set(groups) == {"wall", "waiting"}
    assert groups["wall"]["figures"][0]["holds"] is False
    assert groups["wall"]["details"] == {"scale": 0.05}
    assert (groups["wall"]["quiet"], groups["waiting"]["quiet"]) == (True, False)
    assert groups["waiting"]["figures"][0]["measured"] is None


def test_a_table_can_be_pasted():
    assert table([Figure("cold", 12.34, "s", note="a note")]).splitlines() == [
        "| figure | measured | at most | holds | |",
        "| --- | --- | --- | --- | --- |",
        "| cold | 12.3 s |  |  | a note |",
    ]


def test_a_page_gets_the_tables_that_the_report_has_again_and_again(tmp_path, monkeypatch):
    monkeypatch.setattr(report, "REPORT", tmp_path / "report.json")
    publish("wall", [Figure("cold", 0.7, "x", 0.8)], {}, load_before=0.2)
    groups = json.loads((tmp_path / "report.json").read_text())["groups"]
    page = "a\n<!-- bench: wall -->\nstale\n<!-- end -->\nb\n<!-- bench: other -->\n<!-- end -->\n"
    once = filled(page, groups)

    assert "| cold | 0.700 x | 0.8 | yes |  |" in once
    assert "stale" not in once
    assert once.startswith("a\n")
    assert once.endswith("b\n<!-- bench: other -->\n<!-- end -->\n")
    assert filled(once, groups) == once


def test_a_group_is_measured_as_its_command_line_says(tmp_path, monkeypatch):
    monkeypatch.setattr(report, "REPORT", tmp_path / "report.json")
    monkeypatch.setattr("sys.argv", ["waiting", "--suspended", "10", "50"])
    asked = []

    def measure(scale, process, suspended):
        asked.append((scale, process, suspended))
        return [Figure("a", 1.0)], {}

    options = {"scale": (0.5, "a share"), "process": ([10], "sizes"), "suspended": ([1], "sizes")}
    main("waiting", measure, "What waits.", **options)

    assert asked == [(0.5, [10], [10, 50])]
    assert list(report.kept()) == ["waiting"]


@pytest.mark.parametrize("group", ["data", "growth", "imports", "overhead", "waiting", "wall"])
def test_a_command_line_that_is_not_understood_is_refused_with_the_usage(group):
    argv = [sys.executable, "-m", f"benchmarks.{group}", "--no-such-option"]
    done = subprocess.run(argv, cwd=report.ROOT, capture_output=True, text=True)

    assert done.returncode == 2
    assert done.stderr.startswith(f"usage: python -m benchmarks.{group}")
