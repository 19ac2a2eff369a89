"""Where a case runs: an emulator, a Prefect server, folders of its own; gone afterwards."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.figures import BENCH, ROOT
from deployments.local_stack import emulator, free_port, prefect_server, running
from emulator.services.jobs.records import Jobs, Record
from emulator.store import Store

#: Longest that one program of a case may take.
PROGRAM_WITHIN_S = 900.0


class CaseFailed(RuntimeError):
    """A program of a case did not do its work: what it would have measured is worth nothing."""


@dataclass(frozen=True)
class Stage:
    """The environment of programs that use an emulator and a Prefect server, and their folder."""

    folder: Path
    env: dict[str, str]

    @property
    def api(self) -> str:
        return self.env["PREFECT_API_URL"]

    def ask(self, path: str) -> dict[str, Any]:
        """Ask the emulator's admin routes."""
        import httpx

        answer = httpx.get(f"{self.env['EMULATOR_ADMIN_URL']}/{path}", trust_env=False, timeout=60)
        return dict(answer.raise_for_status().json())


@contextmanager
def folder_of(name: str) -> Iterator[Path]:
    """A folder for one group's cases; it goes afterwards, unless a case failed."""
    BENCH.mkdir(parents=True, exist_ok=True)
    folder = Path(tempfile.mkdtemp(dir=BENCH, prefix=f"{name}-"))
    try:
        yield folder
    except Exception:
        print(f"what the programs said is in {folder.relative_to(ROOT)}", file=sys.stderr)
        raise
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise
    shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def stage(folder: Path, *options: str, **env: str) -> Iterator[Stage]:
    """An emulator with these options and a Prefect server on a free port; both kept in ``folder``.

    Entered again on the same folder, both go on with the state that they left.
    """
    with (
        emulator(folder / "emulator", "--weights", "tiny", "--preload", *options) as azure,
        prefect_server(folder / "prefect", free_port()) as prefect,
    ):
        yield Stage(folder, {**azure, **prefect, **own_folders(folder), **env})


def own_folders(folder: Path) -> dict[str, str]:
    """Settings that keep what a program caches in the case's folder."""
    return {
        "FINETUNE_DATA": str(folder / "data"),
        "HF_HOME": str(folder / "huggingface"),
        "HF_HUB_DISABLE_PROGRESS_BARS": "1",
        "HF_DATASETS_DISABLE_PROGRESS_BARS": "1",
    }


@dataclass(frozen=True)
class Ran:
    """A program that ran to its end: real seconds of its process, and what it left as JSON."""

    wall_s: float
    began: float
    ended: float
    left: dict[str, Any]


def run_program(module: str, where: Path, env: dict[str, str], *argv: str) -> Ran:
    """Run a module in a fresh process that writes the JSON file it is given first.

    Raises:
        CaseFailed: it failed, or took too long; names its log.
    """
    where.mkdir(parents=True, exist_ok=True)
    target = Path(tempfile.mkdtemp(dir=where, prefix="run-")) / "left.json"
    log = target.with_name("log")
    began = time.time()
    with running([sys.executable, "-m", module, str(target), *argv], log, env) as process:
        try:
            code = process.wait(PROGRAM_WITHIN_S)
        except subprocess.TimeoutExpired:
            raise CaseFailed(f"{module} took too long; see {log}") from None
        ended = time.time()
    if code or not target.exists():
        raise CaseFailed(f"{module} ended with {code}; see {log}")
    return Ran(ended - began, began, ended, json.loads(target.read_text(encoding="utf-8")))


@contextmanager
def records(state: Path) -> Iterator[Jobs]:
    """The job records of the emulator of this state folder."""
    store = Store(state / "state.db")
    try:
        yield Jobs(store)
    finally:
        store.close()


def newest_job(state: Path) -> tuple[Record, list[Record]]:
    """Return the newest pipeline job and its steps, as the emulator keeps them."""
    with records(state) as jobs:
        job = jobs.pipelines()[0]
        return job, jobs.steps(job)


def program_seconds(steps: list[Record]) -> float:
    """Return how long the job's own programs ran, by the service's records."""
    ended = [one for one in steps if one["started"] and one["ended"]]
    return sum(float(one["ended"]) - float(one["started"]) for one in ended)
