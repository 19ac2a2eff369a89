"""Where a case runs: emulator, Prefect server, Hub stand-in, a folder; gone afterwards."""

from __future__ import annotations

import re
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

import httpx

from benchmarks.report import BENCH, ROOT
from deployments.local_stack import emulator, free_port, prefect_server, running
from emulator.services.hub.conversations import DATASET
from emulator.services.jobs.records import Jobs
from emulator.store import Store

T = TypeVar("T")


class NeverHappened(RuntimeError):
    """Something was waited for and did not happen in time."""


def until(what: str, look: Callable[[], T | None], within_s: float, every_s: float = 0.2) -> T:
    """Return the first true thing that ``look`` sees.

    Raises:
        NeverHappened: it saw none within ``within_s`` seconds.
    """
    deadline = time.monotonic() + within_s
    while time.monotonic() < deadline:
        if seen := look():
            return seen
        time.sleep(every_s)
    raise NeverHappened(f"not within {within_s:.0f} s: {what}")


@dataclass(frozen=True)
class Stage:
    """The environment of programs that use an emulator and a Prefect server, and their folder."""

    folder: Path
    env: dict[str, str]

    def requests(self, after: int = 0) -> list[dict[str, Any]]:
        """Return the requests that reached the emulator after the one of this number."""
        url = f"{self.env['EMULATOR_ADMIN_URL']}/requests"
        answer = httpx.get(url, params={"after": after}, trust_env=False, timeout=60)
        return list(answer.raise_for_status().json()["requests"])

    @contextmanager
    def jobs(self) -> Iterator[Jobs]:
        """The emulator's records of its jobs; it may run meanwhile."""
        store = Store(self.folder / "emulator" / "state.db")
        try:
            yield Jobs(store)
        finally:
            store.close()


@contextmanager
def folder_of(name: str) -> Iterator[Path]:
    """A folder for one group's cases; it stays if a case fails."""
    BENCH.mkdir(parents=True, exist_ok=True)
    folder = Path(tempfile.mkdtemp(dir=BENCH, prefix=f"{name}-"))
    try:
        yield folder
    except BaseException:
        print(f"what the programs said is in {folder.relative_to(ROOT)}", file=sys.stderr)
        raise
    shutil.rmtree(folder, ignore_errors=True)


def own_folders(folder: Path) -> dict[str, str]:
    """Settings that keep what a program caches in the case's folder."""
    return {
        "FINETUNE_DATA": str(folder / "data"),
        "HF_HOME": str(folder / "huggingface"),
        "HF_HUB_DISABLE_PROGRESS_BARS": "1",
        "HF_DATASETS_DISABLE_PROGRESS_BARS": "1",
    }


@contextmanager
def emulator_alone(folder: Path, *options: str, **env: str) -> Iterator[Stage]:
    """An emulator with these options, kept in ``folder``: entered again, it goes on from there."""
    with emulator(folder / "emulator", "--weights", "tiny", "--preload", *options) as azure:
        yield Stage(folder, {**azure, **own_folders(folder), **env})


@contextmanager
def stage(folder: Path, *options: str, **env: str) -> Iterator[Stage]:
    """The same, and a Prefect server on a free port, which is kept in ``folder`` too."""
    with (
        emulator_alone(folder, *options, **env) as here,
        prefect_server(folder / "prefect", free_port()) as prefect,
    ):
        yield replace(here, env={**prefect, **here.env})


@dataclass(frozen=True)
class Hub:
    """The Hub stand-in; it counts the bytes that it sends."""

    url: str

    def hold(self, bytes_per_second: float | None) -> None:
        """Hold the line to this speed, None for no limit; the count begins anew."""
        self._settings("PUT", {"bytes_per_second": bytes_per_second})

    def sent(self) -> int:
        """Return the bytes that were sent."""
        return int(self._settings("GET")["sent"])

    def _settings(self, method: str, body: Any = None) -> dict[str, Any]:
        answer = httpx.request(method, f"{self.url}/_settings", json=body, trust_env=False)
        return dict(answer.raise_for_status().json())


@contextmanager
def hub(dataset: Path) -> Iterator[Hub]:
    """Serve the dataset from a process of its own."""
    log = BENCH / "hub.log"
    log.unlink(missing_ok=True)
    command = [sys.executable, "-m", "emulator.services.hub", "--cache", str(BENCH / "cache")]
    with running([*command, "--dataset", f"{DATASET}={dataset}"], log):
        address = re.compile(r"^HF_ENDPOINT=(.+)\n", re.MULTILINE)
        said = until("the Hub stand-in is up", lambda: address.search(log.read_text()), 60)
        yield Hub(said[1])
