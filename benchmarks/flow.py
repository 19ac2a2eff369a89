"""``make bench``: every group of figures about the flow, one after another.

``python -m benchmarks.flow`` takes about 20 minutes on two cores; ``--full`` measures what is
waited for up to 200 runs and repeats the walls, in hours. Each group is a module that can be
measured alone, and writes its part of ``var/bench/report.json``. A group that fails is named at the
end, and the others are measured all the same.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import time

from benchmarks.figures import REPORT, ROOT

#: Module, what ``--full`` adds to it.
GROUPS: dict[str, list[str]] = {
    "imports": [],
    "overhead": ["--times", "5"],
    "wall": ["--times", "3"],
    "growth": [],
    "waiting": ["--full"],
}


def measure(group: str, options: list[str]) -> bool:
    """Measure one group in a process of its own; whether it could be."""
    command = [sys.executable, "-m", f"benchmarks.{group}", *options]
    return subprocess.run(command, cwd=ROOT, check=False).returncode == 0


def main() -> int:
    """Measure all groups, or those that are named; 1 if one could not be."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.flow", description=__doc__)
    parser.add_argument("groups", nargs="*", choices=[*GROUPS, []], help="default: all")
    parser.add_argument("--full", action="store_true", help="all sizes, and medians of more runs")
    given = parser.parse_args()
    failed = []
    for group in given.groups or GROUPS:
        began = time.monotonic()
        if not measure(group, GROUPS[group] if given.full else []):
            failed.append(group)
        print(f"{group} took {time.monotonic() - began:.0f} s\n", flush=True)
    print(f"written to {REPORT.relative_to(ROOT)}")
    if failed:
        print(f"could not be measured: {', '.join(failed)}", file=sys.stderr)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
