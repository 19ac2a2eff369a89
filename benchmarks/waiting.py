"""What a run costs while it waits for its job, in two ways, and how soon it goes on.

Real runs against an emulator whose cluster has no nodes, so that every job stays in the queue, with
a process for each run or suspended. How that is measured: docs/performance.md, *Waiting*.
"""

from __future__ import annotations

import socket
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from statistics import median
from typing import Any
from uuid import UUID, uuid4

from psutil import virtual_memory

from benchmarks.overhead import FINE_TUNE
from benchmarks.processes import cpu_seconds, families, kill, memory_mb
from benchmarks.program import CaseFailed, run_program
from benchmarks.report import Figure, main
from benchmarks.runs import Served, ended, served, span, steps_of
from benchmarks.stage import NeverHappened, Stage, folder_of, stage, until
from benchmarks.tiny import fine_tune_parameters
from benchmarks.wall import NEXT_STEP
from deployments.local_stack import free_port, running
from emulator.services.jobs.records import Record
from workspace.naming import RUN_TAG, job_name, run_key

WAYS = ("process", "suspended")
#: The size that has targets, of suspended runs.
MOST = 200
AT_MOST_MB, AT_MOST_REQUESTS, AT_MOST_S = 2.0, 1.0, 15.0
POLL_S = 30.0
WINDOW_S = 60.0
#: Seconds after the last submission in which what runs beside the job (the endpoint) gets done.
SETTLE_S = 15.0
#: Runs that are begun at once. The runner asks for work every few seconds: singly is slow.
BATCH = 4
#: Of each size so many jobs end in front of the stopwatch.
ENDING = 3
#: Minutes between two runs of the poller, as prefect.yaml schedules it.
POLLER_MINUTES = 2
HELD = "held-cluster"
#: Memory in MB that must stay free: below that the machine swaps and nothing measured counts.
SPARE_MB = 1500.0
KEY = "a-key-for-one-measurement"


@dataclass
class Waited:
    """So many runs of one way that wait at once; figures are of all of them together."""

    way: str
    runs: int
    memory_mb: float
    fixed_mb: float
    cpu_s_per_min: float
    requests_per_min: float
    #: Seconds from each ended job's end to its run's next step, and until the run was running.
    next_step_s: list[float] = field(default_factory=list)
    running_s: list[float] = field(default_factory=list)
    #: Of suspended runs: one run of the poller while all of these wait.
    poller: dict[str, float] = field(default_factory=dict)


def measure(**wanted: list[int]) -> tuple[list[Figure], dict[str, Any]]:
    """Measure every way at each of its sizes, smallest first; a way without sizes is left out."""
    figures: list[Figure] = []
    measured: list[Waited] = []
    for way, sizes in wanted.items():
        try:
            for waited in _waited(way, sorted(sizes)):
                measured.append(waited)
                figures += _figures(waited)
        except (CaseFailed, NeverHappened) as reason:  # what was measured until then counts
            figures.append(Figure(f"{way}: the other sizes", None, note=str(reason)))
    return figures, {
        "poll_s": POLL_S,
        "window_s": WINDOW_S,
        "waited": [asdict(waited) for waited in measured],
    }


def _waited(way: str, sizes: list[int]) -> Iterator[Waited]:
    """Let runs wait, more and more of them, and measure at each size."""
    if sizes:
        with folder_of(f"waiting-{way}") as folder, _runs(folder, way, max(sizes)) as runs:
            for size in sizes:
                yield runs.measure(size)
                print(f"{way}, {size} runs: measured", flush=True)


@contextmanager
def _runs(folder: Path, way: str, most: int) -> Iterator[Runs]:
    """Serve the flow, for suspended runs with webhook and automation; no run is left afterwards."""
    port = free_port()
    hook = f"http://127.0.0.1:{port}/events?code={KEY}"
    with ExitStack() as stack:
        here = stack.enter_context(stage(folder, "--event-webhook", hook, FINETUNE_EVENTS_KEY=KEY))
        pids = []
        if way == "suspended":
            run_program("benchmarks.programs", folder, here.env, "automation")
            argv = [sys.executable, "-m", "deployments.events", "--port", str(port)]
            pids = [stack.enter_context(running(argv, folder / "events.log", here.env)).pid]
            until("the webhook listens", lambda: _listens(port), 60)
        deployment = stack.enter_context(served(here, FINE_TUNE, most + ENDING))
        # Killed, not stopped: a run that is stopped in order cleans up for a minute.
        stack.callback(kill, [deployment.pid])
        scale(here, {HELD: 0})
        yield Runs(here, way, deployment, [*pids, deployment.pid])


class Runs:
    """The runs that wait on one stage; those on the held cluster stay from size to size."""

    def __init__(self, here: Stage, way: str, deployment: Served, pids: list[int]) -> None:
        self.here, self.way, self.deployment, self.pids = here, way, deployment, pids
        self.fixed_mb = memory_mb(families(pids))
        self.held: list[str] = []

    def measure(self, size: int) -> Waited:
        """Have so many runs wait, watch them for a window, then let some of their jobs end."""
        clusters = [f"ending-{size}-{number}" for number in range(min(ENDING, size))]
        scale(self.here, dict.fromkeys(clusters, 0))
        self.held += self._begin([HELD] * (size - len(clusters) - len(self.held)))
        keys = self._begin(clusters)
        time.sleep(SETTLE_S)
        waited = self._window(size)
        if self.way == "suspended":
            waited.poller = self._poll()
        for key, cluster in zip(keys, clusters, strict=True):
            scale(self.here, {cluster: 1})
            self._let_end(key, waited)
        return waited

    def _begin(self, clusters: list[str]) -> list[str]:
        """Begin a run for each cluster named, some at once, each batch after the last one waits."""
        begun = [(uuid4().hex, cluster) for cluster in clusters]
        for first in range(0, len(begun), BATCH):
            if (free := virtual_memory().available / 2**20) < SPARE_MB:
                raise CaseFailed(f"{free:.0f} MB of memory are left: too few for more runs")
            for key, cluster in begun[first : first + BATCH]:
                run = fine_tune_parameters(POLL_S, key=key, compute={"name": cluster})
                if self.way == "suspended":
                    run["waiting"] = "suspended"
                self.deployment.trigger(run=run)
            keys = [key for key, _ in begun[first : first + BATCH]]
            until("the jobs are submitted and their runs wait", lambda: self._wait(keys), 300)  # noqa: B023
        return [key for key, _ in begun]

    def _wait(self, keys: list[str]) -> bool:
        jobs = [self._job(key) for key in keys]
        if self.way != "suspended":
            return all(jobs)
        read = self.deployment.client.read_flow_run
        states = [read(_run_of(job)).state for job in jobs if job]
        return [state.name if state else "" for state in states] == ["Suspended"] * len(keys)

    def _job(self, key: str) -> Record | None:
        with self.here.jobs() as jobs:
            return jobs.get(job_name(run_key("", key)))

    def _window(self, size: int) -> Waited:
        last = self._last_request()
        before, began = cpu_seconds(families(self.pids)), time.monotonic()
        time.sleep(WINDOW_S)
        minutes = (time.monotonic() - began) / 60
        requests = len(self.here.requests(last))
        there = families(self.pids)
        cpu = (cpu_seconds(there) - before) / minutes
        return Waited(self.way, size, memory_mb(there), self.fixed_mb, cpu, requests / minutes)

    def _poll(self) -> dict[str, float]:
        """Run the poller once: what the fallback costs where no event comes."""
        last = self._last_request()
        ran = run_program("benchmarks.programs", self.here.folder, self.here.env, "poll")
        return {**ran.left, "requests": len(self.here.requests(last))}

    def _last_request(self) -> int:
        return int(self.here.requests()[-1]["index"])

    def _let_end(self, key: str, waited: Waited) -> None:
        """Wait until a run has ended, and note how soon after its job it went on."""
        client = self.deployment.client

        def ended_job() -> Record | None:
            job = self._job(key)
            return job if job and job["ended"] else None

        job = until("the job ends", ended_job, 300)
        run = _run_of(job)

        def next_step() -> float | None:
            steps = (step for step in steps_of(client, run) if step.name.startswith(NEXT_STEP))
            return next((span(step)[0] for step in steps), None)

        waited.next_step_s.append(until("the next step", next_step, 300) - job["ended"])
        states = client.read_flow_run_states(run)
        times = [state.timestamp.timestamp() for state in states if state.is_running()]
        again = min((moment for moment in times if moment > job["ended"]), default=job["ended"])
        waited.running_s.append(again - job["ended"])
        until("the run ends", lambda: ended(client, run), 300)


def _run_of(job: Record) -> UUID:
    return UUID(job["tags"][RUN_TAG])


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def scale(here: Stage, clusters: dict[str, int]) -> None:
    """Give clusters of the workspace so many nodes at most."""
    names = [f"{name}={nodes}" for name, nodes in clusters.items()]
    run_program("benchmarks.programs", here.folder, here.env, "scale", *names)


def _figures(waited: Waited) -> list[Figure]:
    name = f"{waited.way}, {waited.runs} waiting"
    target = (waited.way, waited.runs) == ("suspended", MOST)
    mb, requests, seconds = (AT_MOST_MB, AT_MOST_REQUESTS, AT_MOST_S) if target else [None] * 3
    memory = (
        f"{waited.fixed_mb:.0f} MB are there without a run; "
        f"{(waited.memory_mb - waited.fixed_mb) / waited.runs:.2f} MB a run above that"
    )
    soon = waited.next_step_s
    span = f"from {min(soon):.1f} to {max(soon):.1f} s, {len(soon)} jobs"
    figures = [
        Figure(f"{name}: memory a run", waited.memory_mb / waited.runs, "MB", mb, memory),
        Figure(f"{name}: CPU a run", 1000 * waited.cpu_s_per_min / waited.runs, "ms/min"),
        Figure(
            f"{name}: requests a run",
            waited.requests_per_min / waited.runs,
            "requests/min",
            requests,
        ),
        Figure(f"{name}: job's end to next step", median(soon), "s", seconds, span),
    ]
    if waited.way == "suspended":
        again = f"{span}; running again after {median(waited.running_s):.1f} s"
        figures[-1] = replace(figures[-1], note=again)
        figures.append(_poller(name, waited))
    return figures


def _poller(name: str, waited: Waited) -> Figure:
    """Return what the poller would add, did it run every two minutes beside the events."""
    requests, cpu = (
        waited.poller[key] / POLLER_MINUTES / waited.runs for key in ("requests", "cpu_s")
    )
    note = f"{1000 * cpu:.0f} ms of CPU; one poll takes {waited.poller['seconds']:.1f} s"
    return Figure(f"{name}: the poller a run", requests, "requests/min", note=note)


if __name__ == "__main__":
    sizes = {way: ([10], "numbers of runs that wait so") for way in WAYS}
    main("waiting", measure, __doc__, **sizes)
