"""What importing the flows costs: ``python -m benchmarks.flow``.

Prints a line a figure and writes them to ``var/bench/report.json``. Only imports are measured yet.
"""

from __future__ import annotations

import json
import os
import platform
import re
import statistics
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent
REPORT = ROOT / "var" / "bench" / "report.json"
MODULES = ("flows.fine_tune", "flows.plan", "flows.reap")
FLOOR = "prefect"
HEAVY = ("azure.ai.ml", "mlflow", "torch", "pandas", "datasets", "matplotlib")
LINE = re.compile(r"import time:\s*\d+ \|\s*(\d+) \| ( *)(\S+)")


def seconds_and_heavy(module: str) -> tuple[float, list[str]]:
    """Return one fresh process's cumulative import seconds, and the heavy modules it loaded."""
    code = f"import {module}, sys; print([m for m in {HEAVY!r} if m in sys.modules])"
    done = subprocess.run(
        [sys.executable, "-X", "importtime", "-c", code],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    after_site = done.stderr.rpartition("| site\n")[2]
    top = [int(us) for us, indent, _ in LINE.findall(after_site) if not indent]
    return sum(top) / 1e6, re.findall(r"'([^']+)'", done.stdout.splitlines()[-1])


def imports(times: int = 3) -> list[dict[str, Any]]:
    """Measure each flow module, and Prefect alone as the floor: the median of some processes."""
    found = []
    floor = 0.0
    for module in (FLOOR, *MODULES):
        runs = [seconds_and_heavy(module) for _ in range(times)]
        seconds = statistics.median(one for one, _ in runs)
        floor = floor or seconds
        figure = {"module": module, "seconds": round(seconds, 2), "heavy": runs[-1][1]}
        found.append({**figure, "ratio_to_prefect": round(seconds / floor, 2)})
    return found


def main() -> None:
    """Measure, print, and write the report."""
    machine = f"{platform.machine()}, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}"
    versions = f"Python {platform.python_version()}, prefect {version('prefect')}"
    figures = imports()
    for one in figures:
        print(
            f"import {one['module']}: {one['seconds']} s, {one['ratio_to_prefect']} x prefect, "
            f"heavy: {one['heavy'] or 'none'} ({machine}; {versions})"
        )
    REPORT.parent.mkdir(parents=True, exist_ok=True)
    report = {"machine": machine, "versions": versions, "imports": figures}
    REPORT.write_text(json.dumps(report, indent=1), encoding="utf-8")


if __name__ == "__main__":
    main()
