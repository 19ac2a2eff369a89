"""A verdict for people, and every row as data from which each figure can be made again."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence

from finetuning.evaluation.gate import interval
from finetuning.form.verdict import Manner, RowScore, SuiteResult, Verdict

#: Rows of each suite that a report shows.
SHOWN = 5
LONGEST_CELL = 200


def as_markdown(verdict: Verdict) -> str:
    """Return the report: verdict, figures by suite, and the rows that decided."""
    parts = [
        f"# {verdict.decision.capitalize()}: {verdict.candidate}",
        f"Compared with the {verdict.champion}. {verdict.why}.",
        figures(verdict),
        answered(verdict),
    ]
    for one in verdict.suites:
        if changed := [row for row in one.rows if row.change]:
            parts.append(f"## {one.suite}: worst regressions first")
            parts.append(_table(_ROW_HEAD, map(_row, changed[:SHOWN])))
    return "\n\n".join(parts)


_ROW_HEAD = ("asked", "wanted", "candidate", "champion", "scores", "change")


def figures(verdict: Verdict) -> str:
    """Return decisions, then means and differences with their intervals, as two narrow tables."""
    decisions = [[one.suite, one.why, one.decision] for one in verdict.suites]
    head = ("suite", "metric", "rows", "leaked", "candidate", "champion", "difference",
            f"{verdict.confidence:.1%} interval")  # fmt: skip
    return "\n\n".join(
        [
            _table(("suite", "why", "decision"), decisions),
            _table(head, map(_figures, verdict.suites)),
        ]
    )


def _figures(one: SuiteResult) -> list[str]:
    found = one.difference
    compared = ["", "", ""]
    if found is not None:
        compared = [f"{found.champion:.3f}", f"{found.mean:+.3f}", interval(found)]
    counts = [str(len(one.rows)), str(one.leaked)]
    return [one.suite, one.rules.metric, *counts, f"{one.mean:.3f}", *compared]


def answered(verdict: Verdict) -> str:
    """Return how both models answered, as a table: seconds, empty and cut answers."""
    rows = []
    for one in verdict.suites:
        rows.append(_manner(one.suite, "candidate", one.candidate))
        if one.champion is not None:
            rows.append(_manner(one.suite, verdict.champion.role, one.champion))
    return _table(("suite", "model", "answers", "empty", "cut", "p50 s", "p95 s"), rows)


def _manner(suite: str, model: str, found: Manner) -> list[str]:
    counts = [str(found.answers), str(found.empty), str(found.cut)]
    return [suite, model, *counts, f"{found.p50:.2f}", f"{found.p95:.2f}"]


def _row(row: RowScore) -> list[str]:
    theirs = "" if row.champion_score is None else f" / {row.champion_score:.3f}"
    said = [row.candidate, row.champion or "", f"{row.candidate_score:.3f}{theirs}"]
    return [row.question, row.wanted, *said, f"{row.change:+.3f}"]


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(_cell(one) for one in line) + " |" for line in lines)


def _cell(text: str) -> str:
    cell = " ".join(text.replace("|", "\\|").split())
    return cell if len(cell) <= LONGEST_CELL else cell[: LONGEST_CELL - 1] + "…"


def rows_as_lines(verdict: Verdict) -> Iterator[str]:
    """Return every row with both answers and scores as JSON Lines."""
    for one in verdict.suites:
        for row in one.rows:
            yield json.dumps({"suite": one.suite, **row.model_dump()}, ensure_ascii=False) + "\n"
