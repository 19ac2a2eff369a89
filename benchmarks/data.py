"""Data preparation at the dataset's full size: ours, the tutorial's way, and the floor.

``python -m benchmarks.data`` makes the dataset (once), serves it from the Hub stand-in and runs
each case in a fresh process with an empty cache, at loopback speed and over a held link. It prints
a line per case and the ratios, and writes them to ``var/bench/data.json``.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

from benchmarks.data_set import make
from emulator.services.hub.conversations import DATASET

ROOT = Path(__file__).parent.parent
BENCH = ROOT / "var" / "bench"
HELD = 100e6
CASES = {
    "a: the tutorial's way, 5 %": ("tutorial", 5),
    "b: ours, 5 %": ("ours", 5),
    "d: the floor, 5 %": ("floor", 5),
    "a: the tutorial's way, 100 %": ("tutorial", 100),
    "c: ours, 100 %": ("ours", 100),
    "d: the floor, 100 %": ("floor", 100),
    "e: ours, 5 %, second run, cached": ("cached", 5),
}
TARGETS = (
    # name, numerator, denominator, field, links, at most
    (
        "5 %: wire, ours / tutorial",
        "ours-5",
        "tutorial-5",
        "wire_bytes",
        ("loopback", "held"),
        0.08,
    ),
    ("5 %: wall, ours / tutorial", "ours-5", "tutorial-5", "wall_s", ("loopback",), 0.25),
    ("5 %: wall, ours / tutorial", "ours-5", "tutorial-5", "wall_s", ("held",), 0.125),
    ("5 %: peak, ours / tutorial", "ours-5", "tutorial-5", "peak_mb", ("loopback", "held"), 0.7),
    (
        "100 %: wall, ours / tutorial at 100 %",
        "ours-100",
        "tutorial-100",
        "wall_s",
        ("loopback", "held"),
        0.5,
    ),
    (
        "100 %: wall, ours / tutorial at 5 %",
        "ours-100",
        "tutorial-5",
        "wall_s",
        ("loopback", "held"),
        0.5,
    ),
    ("100 %: wall, ours / floor", "ours-100", "floor-100", "wall_s", ("loopback", "held"), 2.0),
)


@dataclass(frozen=True)
class Measured:
    """One case over one link; wall and CPU of its whole process, imports included."""

    name: str
    key: str
    link: str
    wall_s: float
    cpu_s: float
    peak_mb: float
    wire_bytes: int
    rows: int
    rows_per_s: float


class Server:
    """The Hub stand-in in a process of its own, and its settings."""

    def __init__(self, url: str) -> None:
        self.url = url

    def set(self, bytes_per_second: float | None) -> None:
        self._ask("PUT", {"bytes_per_second": bytes_per_second})

    def sent(self) -> int:
        return int(self._ask("GET")["sent"])

    def _ask(self, method: str, body: Any = None) -> dict[str, Any]:
        import httpx

        answer = httpx.request(method, f"{self.url}/_settings", json=body, trust_env=False)
        return dict(answer.raise_for_status().json())


@contextmanager
def serving(folder: Path) -> Iterator[Server]:
    """Serve the dataset from a process of its own, gone afterwards."""
    command = [sys.executable, "-m", "emulator.services.hub", "--cache", str(BENCH / "cache")]
    process = subprocess.Popen(
        [*command, "--dataset", f"{DATASET}={folder}"],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout is not None
        yield Server(process.stdout.readline().strip().partition("=")[2])
    finally:
        process.terminate()
        process.wait(20)


def measure(server: Server, name: str, link: str, prepared: Path) -> Measured:
    """Run one case in a fresh process with empty caches."""
    kind, percentage = CASES[name]
    server.set(HELD if link == "held" else None)
    home = Path(tempfile.mkdtemp(dir=BENCH, prefix="case-"))
    env = {
        **os.environ,
        "HF_ENDPOINT": server.url,
        "HF_HOME": str(home / "hf"),
        "HF_HUB_DISABLE_PROGRESS_BARS": "1",
        "HF_DATASETS_DISABLE_PROGRESS_BARS": "1",
        "FLOOR_BYTES_FROM": str(prepared),
        "PREFECT_HOME": str(home / "prefect"),
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    }
    command = [sys.executable, "-m", "benchmarks.data_cases", kind, str(percentage), str(home)]
    began = time.monotonic()
    try:
        process = subprocess.Popen(command, cwd=ROOT, env=env, stdout=subprocess.PIPE, text=True)
        assert process.stdout is not None
        said = process.stdout.read()
        _, status, usage = os.wait4(process.pid, 0)
        wall = time.monotonic() - began
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode:
            raise SystemExit(f"case '{name}' over {link} failed with {process.returncode}")
        rows, peak, *seconds = said.splitlines()[-1].split()
        wall = float(seconds[0]) if seconds else wall  # of the cached run: its task alone
        if kind == "ours":
            keep_prepared(home / "out", prepared / str(percentage))
    finally:
        shutil.rmtree(home, ignore_errors=True)
    return _measured(
        name, f"{kind}-{percentage}", link, wall, usage, int(peak), server.sent(), int(rows)
    )


def keep_prepared(out: Path, target: Path) -> None:
    """Keep what ours wrote: the floor writes the same bytes."""
    shutil.rmtree(target, ignore_errors=True)
    target.parent.mkdir(parents=True, exist_ok=True)
    next(path for path in out.iterdir() if path.is_dir()).rename(target)


def _measured(
    name: str,
    key: str,
    link: str,
    wall: float,
    usage: resource.struct_rusage,
    peak: int,
    wire: int,
    rows: int,
) -> Measured:
    return Measured(
        name=name,
        key=key,
        link=link,
        wall_s=round(wall, 2),
        cpu_s=round(usage.ru_utime + usage.ru_stime, 2),
        peak_mb=round(peak / 1024, 1),
        wire_bytes=wire,
        rows=rows,
        rows_per_s=round(rows / wall),
    )


def ratios(cases: list[Measured]) -> dict[str, dict[str, float | bool]]:
    """Return each target's ratio (of the cached run its figures), its limit, whether it holds."""
    by = {(case.key, case.link): asdict(case) for case in cases}
    found: dict[str, dict[str, float | bool]] = {}
    for name, upper, lower, figure, links, limit in TARGETS:
        for link in links:
            if (upper, link) in by and (lower, link) in by:
                ratio = by[upper, link][figure] / by[lower, link][figure]
                found[f"{name} ({link})"] = _held(ratio, limit)
    for case in cases:
        if case.key == "cached-5":
            found[f"cached: seconds of the task ({case.link})"] = _held(case.wall_s, 1.0)
            found[f"cached: bytes over the wire ({case.link})"] = _held(case.wire_bytes, 0)
    return found


def _held(figure: float, limit: float) -> dict[str, float | bool]:
    return {"ratio": round(figure, 4), "at_most": limit, "holds": figure <= limit}


def main() -> None:
    """Measure, print, and write ``var/bench/data.json``."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.data", description=__doc__)
    parser.add_argument("--scale", type=float, default=1.0, help="share of the dataset's rows")
    parser.add_argument("--link", choices=["loopback", "held"], help="only one of the two")
    options = parser.parse_args()
    folder = make(BENCH / "hub", options.scale)
    links = [options.link] if options.link else ["loopback", "held"]
    cases: list[Measured] = []
    prepared = Path(tempfile.mkdtemp(dir=BENCH, prefix="prepared-"))
    try:
        with serving(folder) as server:
            for link in links:
                for name in CASES:
                    cases.append(measure(server, name, link, prepared))
                    _print(cases[-1])
    finally:
        shutil.rmtree(prepared, ignore_errors=True)
    _report(cases, options.scale)


def _print(case: Measured) -> None:
    print(
        f"{case.link:8}  {case.name:32} {case.wall_s:7.2f} s  cpu {case.cpu_s:7.2f} s  "
        f"peak {case.peak_mb:6.0f} MB  wire {case.wire_bytes / 1e6:7.1f} MB  "
        f"{case.rows} rows  {case.rows_per_s} rows/s",
        flush=True,
    )


def _report(cases: list[Measured], scale: float) -> None:
    found = ratios(cases)
    for name, one in found.items():
        print(f"{one['ratio']:8.4f}  at most {one['at_most']:<6} {one['holds']!s:5}  {name}")
    packages = ("datasets", "huggingface_hub", "pyarrow", "orjson")
    report = {
        "cases": [asdict(case) for case in cases],
        "ratios": found,
        "scale": scale,
        "machine": {
            "cpus": os.cpu_count(),
            "load": os.getloadavg(),
            "platform": platform.platform(),
            "python": platform.python_version(),
            **{name: version(name) for name in packages},
        },
    }
    (BENCH / "data.json").write_text(json.dumps(report, indent=1))
    print(f"written to {(BENCH / 'data.json').relative_to(ROOT)}")


if __name__ == "__main__":
    main()
