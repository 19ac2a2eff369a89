"""A measured figure, what it may be at most, and how it is printed and kept.

Every group of figures writes its part of ``var/bench/report.json``, so that groups may be measured
one at a time and the report still holds all of them.
"""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent
BENCH = ROOT / "var" / "bench"
REPORT = BENCH / "report.json"
PACKAGES = ("prefect", "azure-ai-ml", "azureml-mlflow", "datasets", "pyarrow", "torch")
#: Load average above which wall times say more about the neighbours than about us.
QUIET = 1.5


@dataclass(frozen=True)
class Figure:
    """One number. ``measured`` is None where it was not measured; ``note`` then says why.

    ``unit`` is ``x`` for a ratio, else s, MB, requests/min and so on.
    """

    name: str
    measured: float | None
    unit: str = "x"
    at_most: float | None = None
    note: str = ""

    @property
    def holds(self) -> bool | None:
        """Whether the target holds; None where there is none, or nothing was measured."""
        if self.at_most is None or self.measured is None:
            return None
        return self.measured <= self.at_most

    def line(self) -> str:
        """Return the figure as a line for the terminal."""
        words = {True: "yes", False: "no", None: "-"}[self.holds]
        target = f"at most {self.at_most:g}, holds: {words}" if self.at_most is not None else ""
        return ", ".join(
            part for part in (f"{self.name}: {self._value()}", target, self.note) if part
        )

    def row(self) -> str:
        """Return the figure as a row of a markdown table."""
        target = f"{self.at_most:g}" if self.at_most is not None else ""
        words = {True: "yes", False: "no", None: ""}[self.holds]
        return f"| {self.name} | {self._value()} | {target} | {words} | {self.note} |"

    def _value(self) -> str:
        if self.measured is None:
            return "not measured"
        digits = 3 if abs(self.measured) < 10 else 1
        return f"{self.measured:.{digits}f} {self.unit}".strip()


def machine() -> str:
    """Return the machine and how busy it is now (load average over one minute)."""
    return f"{platform.machine()}, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}"


def versions() -> str:
    """Return the versions that a figure depends on."""
    known = ", ".join(f"{name} {version(name)}" for name in PACKAGES)
    return f"Python {platform.python_version()}, {known}"


def publish(group: str, figures: list[Figure], details: Any, load_before: float) -> None:
    """Print the group's lines and its markdown table, and put both into the report.

    ``load_before`` is the load average over a minute when measuring began.
    """
    busy = max(load_before, 0.0) > QUIET
    about = f"{machine()}, {load_before:.1f} when it began; {versions()}"
    for one in figures:
        print(f"{group}: {one.line()} ({about})", flush=True)
    print("\n" + table(figures) + "\n", flush=True)
    if busy:
        print(f"{group}: the machine was busy when it began; wall times are worth little.")
    _keep(
        group,
        {
            "machine": machine(),
            "load_before": round(load_before, 2),
            "quiet": not busy,
            "versions": versions(),
            "figures": [{**asdict(one), "holds": one.holds} for one in figures],
            "details": details,
        },
    )


def table(figures: Iterable[Figure]) -> str:
    """Return the figures as a markdown table, to be pasted into the documents."""
    head = "| figure | measured | at most | holds | |\n| --- | --- | --- | --- | --- |"
    return "\n".join([head, *(one.row() for one in figures)])


def _keep(group: str, part: dict[str, Any]) -> None:
    REPORT.parent.mkdir(parents=True, exist_ok=True)
    whole = json.loads(REPORT.read_text(encoding="utf-8")) if REPORT.exists() else {}
    groups = whole.get("groups", {})
    REPORT.write_text(json.dumps({"groups": {**groups, group: part}}, indent=1), encoding="utf-8")


def load_now() -> float:
    """Return the load average over the last minute."""
    return os.getloadavg()[0]
