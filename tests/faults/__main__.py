"""``python -m tests.faults``: the whole sweep, or a shard or a sample of it; resumable."""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from datetime import UTC, datetime
from pathlib import Path

from tests.conftest import ROOT
from tests.faults import matrix
from tests.faults.cases import Case, all_cases, sample
from tests.faults.positions import Position
from tests.faults.sweep import Shard, as_position, shard


def main(argv: list[str]) -> int:
    """Run the cases that have no row yet; return 1 if a case shows what must not be."""
    given = options(argv)
    folder = given.out
    folder.mkdir(parents=True, exist_ok=True)
    if not given.report:
        with tempfile.TemporaryDirectory(prefix="faults-") as place, shard(Path(place)) as here:
            todo = chosen(given, here)
            for number, case in enumerate(todo, start=1):
                outcome = here.try_case(case, number)
                matrix.keep(folder, given.shard, outcome, about())
                print(
                    f"{number}/{len(todo)} {outcome.verdict}: {case.name} {outcome.seconds} s",
                    flush=True,
                )
    found = matrix.write(folder, about())
    print(matrix.table(found["rows"]))
    print(json.dumps({name: value for name, value in found.items() if name != "rows"}))
    return 1 if found["jobs_twice"] or found["left_running"] or found["secrets_seen"] else 0


def options(argv: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.faults", description=__doc__)
    parser.add_argument("--shard", default="0/1", help="i/n: every n-th case, from the i-th")
    parser.add_argument("--sample", type=int, help="only so many cases, of each fault at least one")
    parser.add_argument("--out", type=Path, default=ROOT / "var" / "faults")
    parser.add_argument("--report", action="store_true", help="only merge and print what there is")
    parser.add_argument("--only", default="", help="only cases with this text in their name")
    return parser.parse_args(argv)


def chosen(given: argparse.Namespace, here: Shard) -> list[Case]:
    """Return the cases that are still to be tried; the clean run is recorded once for all."""
    recorded = given.out / "clean-run.json"
    if not recorded.exists():
        rows = [vars(one) for one in here.record()]
        recorded.write_text(json.dumps(rows, indent=1))
    positions: list[Position] = [as_position(row) for row in json.loads(recorded.read_text())]
    cases = [case for case in all_cases(positions) if given.only in case.name]
    if given.sample:
        cases = sample(cases, given.sample)
    index, count = (int(part) for part in given.shard.split("/"))
    done = {row["name"] for row in matrix.read_rows(given.out) if row["hit"]}
    return [case for case in cases[index::count] if case.name not in done]


def about() -> dict[str, str]:
    """Return when and of which commit the matrix is."""
    commit = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    return {"date": f"{datetime.now(UTC):%Y-%m-%d}", "commit": commit.stdout.strip()}


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
