"""``make bench-data``: data preparation at the dataset's full size, three ways.

Ours, the tutorial's way and the floor (``benchmarks.data_cases``), each in a fresh process with an
empty cache, at loopback speed and over a line of 100 MB/s. The dataset is made once and served from
the Hub stand-in. Prints a table of the cases and writes the ratios into ``var/bench/report.json``.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from benchmarks.data_set import make
from benchmarks.program import run_program
from benchmarks.report import BENCH, Figure, main, markdown
from benchmarks.stage import Hub, folder_of, hub, own_folders

#: Bytes a second.
LINES = {"loopback": None, "held": 100e6}
CASES = {
    "(a) the tutorial's way, 5 %": ("tutorial", 5),
    "(b) ours, 5 %": ("ours", 5),
    "(d) the floor, 5 %": ("floor", 5),
    "(a) the tutorial's way, 100 %": ("tutorial", 100),
    "(c) ours, 100 %": ("ours", 100),
    "(d) the floor, 100 %": ("floor", 100),
    "(e) ours, 5 %, second run: the task alone": ("cached", 5),
}
#: Name, case, the case it is compared with, of what, at most on loopback and over the held line.
RATIOS = (
    ("5 %: wire, ours / tutorial", "ours-5", "tutorial-5", "wire_mb", (0.08, 0.08)),
    ("5 %: wall, ours / tutorial", "ours-5", "tutorial-5", "wall_s", (0.25, 0.125)),
    ("5 %: peak, ours / tutorial", "ours-5", "tutorial-5", "peak_mb", (0.7, 0.7)),
    ("100 %: wall, ours / tutorial at 100 %", "ours-100", "tutorial-100", "wall_s", (0.5, 0.5)),
    ("100 %: wall, ours / tutorial at 5 %", "ours-100", "tutorial-5", "wall_s", (0.5, 0.5)),
    ("100 %: wall, ours / floor", "ours-100", "floor-100", "wall_s", (2.0, 2.0)),
)
HEAD = ["line", "case", "wall, s", "CPU, s", "peak, MB", "wire, MB", "rows/s"]


@dataclass(frozen=True)
class Case:
    """One case over one line; wall and CPU of its whole process, imports included."""

    line: str
    name: str
    key: str
    wall_s: float
    cpu_s: float
    peak_mb: float
    wire_mb: float
    rows: int

    def cells(self) -> list[str]:
        """Return the case as a row of the page's table."""
        speed = "" if self.key == "cached-5" else f"{self.rows / self.wall_s:.0f}"
        used = f"{self.wall_s:.2f}", f"{self.cpu_s:.1f}", f"{self.peak_mb:.0f}"
        return [self.line, self.name, *used, f"{self.wire_mb:.1f}", speed]


def measure(scale: float) -> tuple[list[Figure], dict[str, Any]]:
    """Measure every case over both lines, and print them as a table."""
    with folder_of("data") as folder, hub(make(BENCH / "hub", scale)) as source:
        cases = [case for line in LINES for case in over(line, source, folder)]
    print("\n" + markdown(HEAD, (case.cells() for case in cases)) + "\n")
    return figures(cases), {"scale": scale, "cases": [asdict(case) for case in cases]}


def over(line: str, source: Hub, folder: Path) -> Iterator[Case]:
    """Run every case in a process of its own; what ours wrote is kept, the floor writes it too."""
    for name, (kind, percentage) in CASES.items():
        home = Path(tempfile.mkdtemp(dir=folder))
        kept = folder / "prepared" / str(percentage)
        env = {
            **own_folders(home),
            "HF_ENDPOINT": source.url,
            "FLOOR_BYTES_FROM": str(kept),
            "PREFECT_HOME": str(home / "prefect"),
            "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        }
        source.hold(LINES[line])
        ran = run_program("benchmarks.data_cases", home, env, kind, str(percentage))
        if kind == "ours":
            shutil.rmtree(kept, ignore_errors=True)
            kept.parent.mkdir(exist_ok=True)
            prepared = next(path for path in (home / "data").iterdir() if path.is_dir())
            shutil.move(prepared, kept)
        shutil.rmtree(home)
        measured = {"wall_s": round(ran.wall_s, 2), "wire_mb": source.sent() / 1e6, **ran.left}
        case = Case(line, name, f"{kind}-{percentage}", **measured)
        print(f"{line}, {name}: {case.wall_s:.2f} s", flush=True)
        yield case


def figures(cases: list[Case]) -> list[Figure]:
    """Return each target's ratio, and what the cached run took."""
    by = {(case.key, case.line): case for case in cases}
    ratios = [
        Figure(
            f"{name} ({line})",
            getattr(by[ours, line], field) / getattr(by[theirs, line], field),
            at_most=at_most[position],
        )
        for name, ours, theirs, field, at_most in RATIOS
        for position, line in enumerate(LINES)
    ]
    cached = [by["cached-5", line] for line in LINES]
    seconds = [Figure(f"cached: seconds of the task ({x.line})", x.wall_s, "s", 1) for x in cached]
    wire = [Figure(f"cached: over the wire ({x.line})", x.wire_mb, "MB", 0) for x in cached]
    return [*ratios, *seconds, *wire]


if __name__ == "__main__":
    main("data", measure, __doc__, scale=(1.0, "share of the dataset's rows"))
