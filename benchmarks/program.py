"""A program of a case: a module in a fresh process that leaves its findings as JSON.

``run_program`` is the side that measures, ``leave`` the side that is measured; what the latter
imports must stay next to nothing.
"""

from __future__ import annotations

import argparse
import json
import resource
import sys
import tempfile
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from deployments.local_stack import running

#: Longest that one program of a case may take.
WITHIN_S = 900.0


class CaseFailed(RuntimeError):
    """A program of a case did not do its work: what it would have measured is worth nothing."""


@dataclass(frozen=True)
class Ran:
    """A program that ran to its end: real seconds of its process, and what it left.

    ``left`` always has ``cpu_s`` (its children's too) and ``peak_mb`` of resident memory.
    """

    began: float
    ended: float
    left: dict[str, Any]

    @property
    def wall_s(self) -> float:
        return self.ended - self.began


def run_program(module: str, where: Path, env: dict[str, str], *argv: str) -> Ran:
    """Run ``python -m module LEFT.json ARGV...``, with folders of its own in ``where``.

    Raises:
        CaseFailed: it failed, or was ended after ``WITHIN_S``; names its log.
    """
    where.mkdir(parents=True, exist_ok=True)
    target = Path(tempfile.mkdtemp(dir=where, prefix="run-")) / "left.json"
    log = target.with_name("log")
    began = time.time()
    with running([sys.executable, "-m", module, str(target), *argv], log, env) as process:
        limit = threading.Timer(WITHIN_S, process.kill)
        limit.start()
        code = process.wait()  # without a timeout: Python would look every 50 ms
        ended = time.time()
        limit.cancel()
    if code or not target.exists():
        raise CaseFailed(f"{module} ended with {code} after {ended - began:.0f} s; see {log}")
    return Ran(began, ended, json.loads(target.read_text(encoding="utf-8")))


def arguments(module: str, about: str | None) -> argparse.ArgumentParser:
    """Return the parser of a program that ``run_program`` runs."""
    parser = argparse.ArgumentParser(prog=f"python -m {module}", description=about)
    parser.add_argument("left", type=Path, help="the JSON file to leave")
    return parser


def leave(target: Path, **values: Any) -> None:
    """Write what the program saw, and what it has used so far."""
    used = [resource.getrusage(of) for of in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    # Not getrusage's peak, which counts the parent's from before exec.
    peak_kb = int(Path("/proc/self/status").read_text().partition("VmHWM:")[2].split()[0])
    own = {
        "cpu_s": round(sum(usage.ru_utime + usage.ru_stime for usage in used), 2),
        "peak_mb": round(peak_kb / 1024, 1),
    }
    target.write_text(json.dumps({**own, **values}), encoding="utf-8")
