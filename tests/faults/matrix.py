"""The matrix: rows of cases kept as they come, their totals, and how they are shown."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from tests.faults.cases import FAULTS, Outcome

SHORT = {
    "completed": "✓",
    "failed with cause": "F",
    "failed without cause": "F?",
    "not hit": "·",
    "job twice": "J2",
    "left running": "L",
    "secret seen": "S",
}


def keep(folder: Path, shard: str, outcome: Outcome, about: dict[str, str]) -> None:
    """Add a row; a sweep that is stopped loses nothing."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / f"rows-{shard.replace('/', '-of-')}.jsonl").open("a") as rows:
        rows.write(json.dumps({**outcome.row(), **about}) + "\n")


def read_rows(folder: Path) -> list[dict[str, Any]]:
    """Return the rows of every shard; of a case that was tried twice the later one."""
    rows: dict[str, dict[str, Any]] = {}
    for file in sorted(folder.glob("rows-*.jsonl")):
        for line in file.read_text().splitlines():
            row = json.loads(line)
            rows[row["name"]] = row
    return list(rows.values())


def totals(rows: Iterable[dict[str, Any]]) -> dict[str, int]:
    """Return how many cases showed what."""
    rows = list(rows)
    verdicts = Counter(row["verdict"] for row in rows)
    return {
        "cases": len(rows),
        "completed": verdicts["completed"],
        "failed_with_cause": verdicts["failed with cause"],
        "jobs_twice": sum(row["jobs"] > 1 for row in rows),
        "left_running": sum(bool(row["left"]) for row in rows),
        "secrets_seen": sum(row["secret"] is not None for row in rows),
        "not_hit": verdicts["not hit"],
        "otherwise": sum(
            row["verdict"] not in SHORT or row["verdict"] == "failed without cause" for row in rows
        ),
    }


def write(folder: Path, about: dict[str, Any]) -> dict[str, Any]:
    """Write ``matrix.json`` from every row there is, and return what it says."""
    rows = sorted(read_rows(folder), key=lambda row: str(row["name"]))
    matrix = {**totals(rows), **about, "rows": rows}
    (folder / "matrix.json").write_text(json.dumps(matrix, indent=1))
    return matrix


def table(rows: Iterable[dict[str, Any]]) -> str:
    """Return request × fault as a markdown table."""
    cells: dict[tuple[str, str], str] = {}
    for row in rows:
        request = f"{row['method']} {row['host']} `{shorten(row['path'])}` {row['occurrence'] + 1}"
        cells[request, row["fault"]] = SHORT.get(row["verdict"], row["verdict"])
    requests = sorted({request for request, _ in cells})
    head = ["| request | " + " | ".join(FAULTS) + " |", "| --- |" + " --- |" * len(FAULTS)]
    return "\n".join(
        head
        + [
            f"| {request} | " + " | ".join(cells.get((request, one), "") for one in FAULTS) + " |"
            for request in requests
        ]
    )


def shorten(path: str) -> str:
    """Return a path without what every path of its kind begins with."""
    for before in ("/workspaces/", "/registries/", "/providers/Microsoft.MachineLearningServices/"):
        if before in path:
            path = "…/" + path.split(before, 1)[1]
    return path if len(path) <= 90 else path[:45] + "…" + path[-44:]
