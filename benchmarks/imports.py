"""What importing the flows costs, and that a deployment's schema is read without heavy libraries.

``python -m benchmarks.imports``. Each import is measured in fresh processes.
"""

from __future__ import annotations

import re
import statistics
import subprocess
import sys
import time
from typing import Any

from benchmarks.report import ROOT, Figure, main

MODULES = ("flows.fine_tune", "flows.plan", "flows.reap")
FLOOR = "prefect"
HEAVY = ("azure.ai.ml", "mlflow", "torch", "pandas", "datasets", "matplotlib")
LINE = re.compile(r"import time:\s*\d+ \|\s*(\d+) \| ( *)(\S+)")
SCHEMAS = """
import sys
from deployments.declared import runner_deployments
schemas = {made.name: made._parameter_openapi_schema for made in runner_deployments()}
assert schemas["weekly"].model_dump()["definitions"], "the form has no fields"
"""
NAMES = "print([name for name in {heavy!r} if name in sys.modules])"


def seconds_and_heavy(module: str) -> tuple[float, list[str]]:
    """Return one fresh process's cumulative import seconds, and the heavy modules it loaded."""
    code = f"import {module}, sys; {NAMES.format(heavy=HEAVY)}"
    done = _python("-X", "importtime", "-c", code)
    after_site = done.stderr.rpartition("| site\n")[2]
    top = [int(us) for us, indent, _ in LINE.findall(after_site) if not indent]
    return sum(top) / 1e6, _heavy(done.stdout)


def schema_seconds_and_heavy() -> tuple[float, list[str]]:
    """Return the seconds in which a fresh process has every deployment's schema, and what heavy."""
    began = time.monotonic()
    done = _python("-c", SCHEMAS + NAMES.format(heavy=HEAVY))
    return time.monotonic() - began, _heavy(done.stdout)


def measure(times: int) -> tuple[list[Figure], dict[str, Any]]:
    """Measure each flow module, Prefect alone as the floor, and the schemas; medians."""
    figures, details, floor = [], {}, 0.0
    for module in (FLOOR, *MODULES):
        runs = [seconds_and_heavy(module) for _ in range(times)]
        details[module] = [seconds for seconds, _ in runs]
        seconds, heavy = statistics.median(details[module]), runs[-1][1]
        floor = floor or seconds
        share = f"{seconds / floor:.2f} x importing {FLOOR}"
        figures.append(Figure(f"import {module}", seconds, "s", note=share))
        figures.append(Figure(f"import {module}: heavy libraries", len(heavy), "", 0, str(heavy)))
    seconds, heavy = schema_seconds_and_heavy()
    figures.append(Figure("schemas of all deployments, a fresh process", seconds, "s"))
    figures.append(Figure("schemas: heavy libraries", len(heavy), "", 0, str(heavy)))
    return figures, details


def _heavy(printed: str) -> list[str]:
    return re.findall(r"'([^']+)'", printed.splitlines()[-1])


def _python(*argv: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *argv], cwd=ROOT, capture_output=True, text=True, check=True
    )


if __name__ == "__main__":
    main("imports", measure, __doc__, times=(3, "fresh processes each; medians count"))
