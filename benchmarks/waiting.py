"""What a run costs while it waits for its job, in three ways, and how soon it goes on.

``python -m benchmarks.waiting process=10 suspended=10,50,200``. Real runs of the flow against an
emulator whose cluster has no nodes, so that every job stays in the queue:

- *process*: a deployment is served and triggered; Prefect's runner starts a process for each run,
  as a process worker does;
- *threads*: the runs are threads of one process;
- *suspended*: as *process*, with ``run.waiting`` suspended: the processes end. The service's event
  about the job's end reaches the webhook, and an automation resumes the run.

For each number of waiting runs, over a window of a minute: memory (PSS) of all processes that are
there for the waiting, the runner's and the webhook's too, divided by the runs; CPU seconds;
requests that reached Azure. Then three of the jobs, each on a cluster of its own, get a node, one
after another (their training would take the cores from the run that is timed): each trains and
completes, and the service's record of its end is held against the server's time of the run's next
step. The interval between two looks is the flow's default, 30 s, the runner's that of
``prefect.toml``; nothing is scaled. Before that the poller, the fallback of the events, runs once
on its own.
"""

from __future__ import annotations

import argparse
import json
import socket
import statistics
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from benchmarks import processes
from benchmarks.figures import ROOT, Figure, load_now, publish
from benchmarks.prefect_api import NeverHappened, PrefectApi, prefect_api, unix, until
from benchmarks.stage import Stage, folder_of, records, run_program, stage
from benchmarks.tiny import fine_tune_parameters
from deployments.local_stack import free_port, running
from emulator.services.jobs.records import Record
from workspace.naming import RUN_TAG, job_name, run_key

WAYS = ("process", "threads", "suspended")
SIZES = (10,)
ALL_SIZES = (1, 10, 50, 100, 200)
POLL_S = 30.0
WINDOW_S = 60.0
#: Seconds after the last submission in which what runs beside the job (the endpoint) gets done.
SETTLE_S = 15.0
#: Runs that are begun at once. The runner asks for work every few seconds: one at a time is slow.
BATCH = 4
#: Of each size so many jobs end in front of the stopwatch.
ENDING = 3
#: Minutes between two runs of the poller, as prefect.yaml schedules it.
POLLER_MINUTES = 2
HELD = "held-cluster"
NEXT_STEP = "Review training and evaluation metrics"
ENDED = ("COMPLETED", "FAILED", "CRASHED", "CANCELLED")
#: Memory in MB that must stay free: below that the machine swaps and nothing measured counts.
SPARE_MB = 1500.0
AT_MOST_MB, AT_MOST_REQUESTS, AT_MOST_S = 2.0, 1.0, 15.0
KEY = "a-key-for-one-measurement"


@dataclass
class Waited:
    """So many runs of one way that wait at once; figures are of all of them together."""

    way: str
    runs: int
    memory_mb: float
    fixed_mb: float
    processes: int
    server_mb: float
    cpu_s_per_min: float
    requests_per_min: float
    #: Seconds from each ended job's end to its run's next step.
    next_step_s: list[float] = field(default_factory=list)
    #: Of suspended runs: seconds until the run was running again.
    resumed_s: list[float] = field(default_factory=list)
    ended_as: list[str] = field(default_factory=list)
    #: Of suspended runs: one run of the poller while all of these wait.
    poller: dict[str, float] = field(default_factory=dict)

    @property
    def mb_per_run(self) -> float:
        """Memory per waiting run, everything that is there for the waiting included."""
        return self.memory_mb / self.runs


@dataclass(frozen=True)
class Way:
    """One way of running flows: how a run is begun, and which processes are there for it."""

    name: str
    begin: Callable[[dict[str, Any]], None]
    pids: Callable[[], list[int]]
    fixed_mb: float


def measure(wanted: dict[str, list[int]]) -> tuple[list[Figure], dict[str, Any]]:
    """Measure every way at each of its sizes that the machine's memory allows."""
    found: list[Waited] = []
    missing: list[tuple[str, int, str]] = []
    for name, sizes in wanted.items():
        with folder_of(f"waiting-{name}") as folder:
            try:
                for one in waited(folder, name, sizes):
                    print(f"{one.way}, {one.runs}: {one.mb_per_run:.1f} MB a run", flush=True)
                    found.append(one)
            except (NoRoom, NeverHappened) as reason:
                done = [one.runs for one in found if one.way == name]
                missing += [(name, size, str(reason)) for size in sizes if size not in done]
    figures = [figure for one in found for figure in _figures(one)]
    figures += [figure for one in missing for figure in _not_measured(*one, found)]
    return figures, {"poll_s": POLL_S, "window_s": WINDOW_S, "waited": [asdict(x) for x in found]}


class NoRoom(RuntimeError):
    """The machine has not the memory for more runs of this way."""


def waited(folder: Path, way: str, sizes: list[int]) -> Iterator[Waited]:
    """Let runs wait, more and more of them, and measure at each size."""
    hook = free_port()
    url = f"http://127.0.0.1:{hook}/events?code={KEY}"
    with (
        stage(folder, "--event-webhook", url, FINETUNE_EVENTS_KEY=KEY) as here,
        STARTED[way](here, hook, max(sizes)) as mine,
    ):
        scale(here, **{HELD: 0})
        group = Group(here, mine)
        for size in sizes:
            yield group.measure(size)


class Group:
    """The runs that wait on one stage; those on the held cluster stay from size to size."""

    def __init__(self, here: Stage, way: Way) -> None:
        self.here, self.way = here, way
        self.held: list[str] = []

    def measure(self, size: int) -> Waited:
        """Have so many runs wait, watch them for a window, then let some of their jobs end."""
        clusters = [f"ending-{size}-{number}" for number in range(min(ENDING, size))]
        scale(self.here, **dict.fromkeys(clusters, 0))
        self.held += self._begin([HELD] * (size - len(clusters) - len(self.held)))
        keys = self._begin(clusters)
        time.sleep(SETTLE_S)
        found = self._window(size)
        if self.way.name == "suspended":
            found.poller = self._poll()
        for key, cluster in zip(keys, clusters, strict=True):
            scale(self.here, **{cluster: 1})
            self._let_end(key, found)
        return found

    def _begin(self, clusters: list[str]) -> list[str]:
        """Begin a run for each cluster named, some at once, each batch after the last one waits."""
        begun = [(uuid.uuid4().hex, cluster) for cluster in clusters]
        for first in range(0, len(begun), BATCH):
            batch = begun[first : first + BATCH]
            if processes.available_mb() < SPARE_MB:
                raise NoRoom(f"{processes.available_mb():.0f} MB are left")
            for key, cluster in batch:
                self.way.begin(parameters(key, cluster, self.way.name))
            keys = [key for key, _ in batch]
            until("the jobs are submitted and their runs wait", lambda: self._wait(keys), 300)  # noqa: B023
        return [key for key, _ in begun]

    def _wait(self, keys: list[str]) -> bool:
        jobs = [_job(self.here, key) for key in keys]
        if None in jobs:
            return False
        if self.way.name != "suspended":
            return True
        with prefect_api(self.here.api) as api:
            states = [api.flow_run(str(job["tags"][RUN_TAG]))["state"] for job in jobs if job]
        return all(state["name"] == "Suspended" for state in states)

    def _window(self, size: int) -> Waited:
        last = self._last_request()
        pids = self.way.pids()
        before, began = processes.cpu_seconds(pids), time.monotonic()
        time.sleep(WINDOW_S)
        minutes = (time.monotonic() - began) / 60
        requests = len(self.here.ask(f"requests?after={last}")["requests"])
        cpu = processes.cpu_seconds(pids) - before
        pids = self.way.pids()
        return Waited(
            way=self.way.name,
            runs=size,
            memory_mb=processes.memory(pids).pss,
            fixed_mb=self.way.fixed_mb,
            processes=len(pids),
            server_mb=processes.memory(server_pids()).pss,
            cpu_s_per_min=round(cpu / minutes, 3),
            requests_per_min=round(requests / minutes, 2),
        )

    def _poll(self) -> dict[str, float]:
        """Run the poller once: what the fallback costs where no event comes."""
        last = self._last_request()
        ran = run_program("benchmarks.resuming", self.here.folder, self.here.env, "poller")
        requests = len(self.here.ask(f"requests?after={last}")["requests"])
        return {**ran.left, "requests": requests}

    def _last_request(self) -> int:
        seen = self.here.ask("requests")["requests"]
        return int(seen[-1]["index"]) if seen else 0

    def _let_end(self, key: str, found: Waited) -> None:
        """Wait until a run has ended, and note how soon after its job it went on."""
        with prefect_api(self.here.api) as api:
            job = until("the job ends", lambda: _ended(self.here, key), 300)
            run = str(job["tags"][RUN_TAG])
            step = until("the next step", lambda: _step(api, run), 300)
            found.next_step_s.append(round(step - job["ended"], 2))
            if self.way.name == "suspended":
                again = _running_after(api, run, job["ended"])
                found.resumed_s.append(round(again - job["ended"], 2))
            until("the run ends", lambda: api.flow_run(run)["state"]["type"] in ENDED, 300)
            found.ended_as.append(str(api.flow_run(run)["state"]["name"]))


def parameters(key: str, cluster: str, way: str) -> dict[str, Any]:
    """Return the flow's parameter ``run`` of one waiting run."""
    changes: dict[str, Any] = {"key": key, "compute": {"name": cluster}}
    if way == "suspended":
        changes["waiting"] = "suspended"
    return fine_tune_parameters(POLL_S, **changes)


def scale(here: Stage, **clusters: int) -> None:
    """Give clusters of the workspace so many nodes at most."""
    names = [f"{name}={nodes}" for name, nodes in clusters.items()]
    run_program("benchmarks.clusters", here.folder, here.env, *names)


@contextmanager
def serving_runs(here: Stage, _: int, limit: int) -> Iterator[Way]:
    """Prefect's runner, with a process for each run."""
    with _served(here, limit) as (runner, begin):
        fixed = processes.memory([runner]).pss
        yield Way("process", begin, lambda: [runner, *processes.descendants(runner)], fixed)


@contextmanager
def suspending_runs(here: Stage, hook: int, limit: int) -> Iterator[Way]:
    """Prefect's runner, the webhook that the service's events reach, and the automation."""
    run_program("benchmarks.resuming", here.folder, here.env, "automation")
    argv = [sys.executable, "-m", "deployments.events", "--port", str(hook)]
    with (
        running(argv, here.folder / "events.log", here.env) as webhook,
        _served(here, limit) as (runner, begin),
    ):
        until("the webhook listens", lambda: _listens(hook), 60)

        def pids() -> list[int]:
            return [webhook.pid, runner, *processes.descendants(runner)]

        yield Way("suspended", begin, pids, processes.memory([webhook.pid, runner]).pss)


@contextmanager
def threading_runs(here: Stage, _: int, __: int) -> Iterator[Way]:
    """One process whose threads are the runs."""
    import os

    argv = [sys.executable, "-m", "benchmarks.waiting_threads"]
    with (here.folder / "threads.log").open("ab") as log:
        process = subprocess.Popen(
            argv, cwd=ROOT, env={**os.environ, **here.env}, stdin=subprocess.PIPE,
            stdout=subprocess.PIPE, stderr=log, text=True, start_new_session=True,
        )  # fmt: skip
    assert process.stdin is not None
    assert process.stdout is not None
    to = process.stdin

    def begin(run: dict[str, Any]) -> None:
        to.write(json.dumps(run) + "\n")
        to.flush()

    try:
        if process.stdout.readline() != "ready\n":
            raise NeverHappened(f"the process of threads is ready; see {log.name}")
        yield Way("threads", begin, lambda: [process.pid], processes.memory([process.pid]).pss)
    finally:
        process.kill()
        process.wait()
        process.stdout.close()
        try:
            to.close()
        except BrokenPipeError:
            pass  # it did not read all of it before it was killed


STARTED = {"process": serving_runs, "threads": threading_runs, "suspended": suspending_runs}


@contextmanager
def _served(here: Stage, limit: int) -> Iterator[tuple[int, Callable[[dict[str, Any]], None]]]:
    """Yield the runner's pid, and what triggers a run; afterwards no run of it is left."""
    argv = [sys.executable, "-m", "benchmarks.served", "waits", str(limit + ENDING)]
    with (
        prefect_api(here.api) as api,
        running(argv, here.folder / "serve.log", here.env) as runner,
    ):
        found = until("it is served", lambda: api.deployment("fine-tune", "waits"), 180)
        try:
            yield runner.pid, lambda run: _trigger(api, str(found["id"]), run)
        finally:
            # Killed, not stopped: a run that is stopped in order cleans up for a minute.
            below = processes.descendants(runner.pid)
            processes.kill([runner.pid, *below])


def _trigger(api: PrefectApi, deployment: str, run: dict[str, Any]) -> None:
    api.trigger(deployment, {"run": run})


def server_pids() -> list[int]:
    """Return the Prefect server's processes among our own."""
    import os

    mine = processes.descendants(os.getpid())
    roots = [pid for pid in mine if "prefect server start" in processes.command(pid)]
    return sorted({*roots, *(below for pid in roots for below in processes.descendants(pid))})


def _listens(port: int) -> bool:
    with socket.socket() as one:
        return one.connect_ex(("127.0.0.1", port)) == 0


def _job(here: Stage, key: str) -> Record | None:
    with records(here.folder / "emulator") as jobs:
        return jobs.get(job_name(run_key("", key)))


def _ended(here: Stage, key: str) -> Record | None:
    job = _job(here, key)
    return job if job and job["ended"] else None


def _step(api: PrefectApi, flow_run: str) -> float | None:
    found = [one for one in api.task_runs(flow_run) if one["name"].startswith(NEXT_STEP)]
    return unix(found[0]["start_time"]) if found else None


def _running_after(api: PrefectApi, flow_run: str, moment: float) -> float:
    """Return when the run was running again after this moment."""
    times = [unix(x["timestamp"]) for x in api.states(flow_run) if x["type"] == "RUNNING"]
    return min((one for one in times if one > moment), default=moment)


def _figures(one: Waited) -> list[Figure]:
    target = one.way == "suspended" and one.runs == max(ALL_SIZES)
    name = f"{one.way}, {one.runs} waiting"
    own = (one.memory_mb - one.fixed_mb) / one.runs
    return [
        Figure(
            f"{name}: memory a run", one.mb_per_run, "MB", AT_MOST_MB if target else None,
            f"{one.fixed_mb:.0f} MB are there without a run; {own:.2f} MB a run above that",
        ),
        Figure(f"{name}: CPU a run", 1000 * one.cpu_s_per_min / one.runs, "ms/min"),
        Figure(
            f"{name}: requests a run", one.requests_per_min / one.runs, "requests/min",
            AT_MOST_REQUESTS if target else None,
        ),
        Figure(
            f"{name}: job's end to next step", statistics.median(one.next_step_s), "s",
            AT_MOST_S if target else None,
            f"from {min(one.next_step_s):.1f} to {max(one.next_step_s):.1f} s, "
            f"{len(one.next_step_s)} jobs{_resumed(one)}",
        ),
        *_poller(name, one),
    ]  # fmt: skip


def _poller(name: str, one: Waited) -> list[Figure]:
    """Return what the poller would add, did it run every two minutes beside the events."""
    if not one.poller:
        return []
    cost = {key: one.poller[key] / POLLER_MINUTES / one.runs for key in ("requests", "cpu_s")}
    note = f"{1000 * cost['cpu_s']:.0f} ms of CPU; one poll takes {one.poller['seconds']:.1f} s"
    return [Figure(f"{name}: the poller a run", cost["requests"], "requests/min", note=note)]


def _resumed(one: Waited) -> str:
    if not one.resumed_s:
        return ""
    return f"; running again after {statistics.median(one.resumed_s):.1f} s"


def _not_measured(way: str, size: int, why: str, found: list[Waited]) -> list[Figure]:
    """Say that a size was not reached, and what the largest one that was would come to."""
    name = f"{way}, {size} waiting: memory a run"
    mine = [one for one in found if one.way == way]
    if not mine:
        return [Figure(name, None, "MB", note=why)]
    most = max(mine, key=lambda one: one.runs)
    whole = most.fixed_mb + (most.memory_mb - most.fixed_mb) / most.runs * size
    note = f"{why}; from {most.runs} runs extrapolated: {whole / 1024:.1f} GB in all"
    return [Figure(name, None, "MB", note=note)]


def way_and_sizes(text: str) -> tuple[str, list[int]]:
    """Read ``suspended=10,50``: a way, and the numbers of runs to measure it at."""
    name, _, numbers = text.partition("=")
    sizes = sorted(int(one) for one in numbers.split(","))
    if name not in WAYS or sizes[0] < 1:
        raise ValueError(text)
    return name, sizes


def main() -> None:
    """Measure, print, and write the report's part."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.waiting", description=__doc__)
    parser.add_argument(
        "ways", nargs="*", type=way_and_sizes, metavar="WAY=SIZES",
        help=f"one of {', '.join(WAYS)}, and numbers of waiting runs; else each way at {SIZES}",
    )  # fmt: skip
    parser.add_argument("--full", action="store_true", help=f"each way at all of {ALL_SIZES}")
    given = parser.parse_args()
    sizes = list(ALL_SIZES if given.full else SIZES)
    wanted = dict(given.ways) or dict.fromkeys(WAYS, sizes)
    load = load_now()
    publish("waiting", *measure(wanted), load)


if __name__ == "__main__":
    main()
