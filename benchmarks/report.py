"""Figures: what was measured, what it may be at most, how both are printed and kept.

Every group of figures writes its part of ``var/bench/report.json``, so that groups may be measured
one at a time. ``python -m benchmarks.report`` prints the report's tables; with ``--write`` they go
into ``docs/performance.md``, between ``<!-- bench: GROUP -->`` and ``<!-- end -->``.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import re
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent
BENCH = ROOT / "var" / "bench"
REPORT = BENCH / "report.json"
PAGE = ROOT / "docs" / "performance.md"
MARKED = re.compile(r"(<!-- bench: (\w+) -->\n).*?(<!-- end -->)", re.DOTALL)
PACKAGES = ("prefect", "azure-ai-ml", "azureml-mlflow", "datasets", "huggingface-hub", "pyarrow",
            "torch")  # fmt: skip
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

    def cells(self) -> list[str]:
        """Return name, value, target, whether it holds, and note, as text."""
        value = "not measured"
        if self.measured is not None:
            digits = 3 if abs(self.measured) < 10 else 1
            value = f"{self.measured:.{digits}f} {self.unit}".strip()
        target = f"{self.at_most:g}" if self.at_most is not None else ""
        return [self.name, value, target, {True: "yes", False: "no", None: ""}[self.holds],
                self.note]  # fmt: skip


def markdown(head: list[str], rows: Iterable[Iterable[str]]) -> str:
    """Return a markdown table."""
    lines = ["| " + " | ".join(head).strip() + " |", "| " + " | ".join(["---"] * len(head)) + " |"]
    return "\n".join([*lines, *("| " + " | ".join(row) + " |" for row in rows)])


def table(figures: Iterable[Figure]) -> str:
    """Return the figures as a markdown table."""
    return markdown(["figure", "measured", "at most", "holds", ""], (x.cells() for x in figures))


def main(
    group: str,
    measure: Callable[..., tuple[list[Figure], Any]],
    about: str | None,
    **options: tuple[int | float | list[int], str],
) -> None:
    """The command line of a group: measure as told, and publish what came of it.

    ``options`` are the arguments of ``measure``, each with its default and what it is.
    """
    parser = argparse.ArgumentParser(prog=f"python -m benchmarks.{group}", description=about)
    for name, (default, text) in options.items():
        several: dict[str, Any] = {"nargs": "*"} if isinstance(default, list) else {}
        kind = int if several else type(default)
        what = f"{text} (default: {default})"
        parser.add_argument(f"--{name}", type=kind, default=default, help=what, **several)
    given = parser.parse_args()
    load = os.getloadavg()[0]
    publish(group, *measure(**vars(given)), load)


def publish(group: str, figures: list[Figure], details: Any, load_before: float) -> None:
    """Print the group's table, and put it into the report.

    ``load_before`` is the load average over a minute when measuring began.
    """
    part = {
        "machine": f"{platform.machine()}, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}",
        "load_before": round(load_before, 2),
        "quiet": load_before <= QUIET,
        "versions": ", ".join(
            [
                f"Python {platform.python_version()}",
                *(f"{package} {version(package)}" for package in PACKAGES),
            ]
        ),
        "figures": [{**asdict(figure), "holds": figure.holds} for figure in figures],
        "details": details,
    }
    print(f"## {group}\n\n{shown(part)}", flush=True)
    REPORT.parent.mkdir(parents=True, exist_ok=True)
    REPORT.write_text(json.dumps({"groups": {**kept(), group: part}}, indent=1), encoding="utf-8")


def kept() -> dict[str, Any]:
    """Return the report's parts by group."""
    return dict(json.loads(REPORT.read_text("utf-8"))["groups"]) if REPORT.exists() else {}


def shown(part: dict[str, Any]) -> str:
    """Return a group's table with what it was measured on."""
    figures = [Figure(*list(figure.values())[:5]) for figure in part["figures"]]
    busy = "" if part["quiet"] else f" Begun at a load above {QUIET}: worth little."
    about = f"{part['machine']} ({part['load_before']} when it began); {part['versions']}"
    return f"{table(figures)}\n\n{about}.{busy}\n"


def filled(page: str, groups: dict[str, Any]) -> str:
    """Return the page with every group's table that the report has; others stay as they are."""

    def put(match: re.Match[str]) -> str:
        name = match[2]
        return f"{match[1]}\n{shown(groups[name])}\n{match[3]}" if name in groups else match[0]

    return MARKED.sub(put, page)


def show() -> None:
    """Print the tables, or write them into the page."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.report", description=__doc__)
    parser.add_argument("--write", action="store_true", help=f"into {PAGE.relative_to(ROOT)}")
    if parser.parse_args().write:
        PAGE.write_text(filled(PAGE.read_text("utf-8"), kept()), encoding="utf-8")
    else:
        for name, part in kept().items():
            print(f"## {name}\n\n{shown(part)}")


if __name__ == "__main__":
    show()
