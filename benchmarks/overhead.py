"""What is ours and Prefect's rather than Azure's: from trigger to first step, between steps, whole.

``python -m benchmarks.overhead``. Three measurements against an emulator without latency:

1. *Trigger to first step*: a run of a served deployment is created through the API; the server's
   own times say when the runner took it (it asks every 10 s, which is chance and reported apart),
   when the flow began (process, imports), when its first step did. Cold is the first run of a newly
   started runner, warm the median of later ones. The floor is the same for an empty flow.
2. *Between steps*: the time of a run's flow in which no step runs, for the fine-tune and for the
   empty flow with as many tasks called and submitted alike.
3. *Whole*: the wall of a process that runs the flow, minus the time in which it was in a call to
   Azure or the Hub or paused between two looks (the union of these spans: what overlaps counts
   once). The floor is the empty flow's whole process.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import Any

from benchmarks.figures import Figure, load_now, publish
from benchmarks.flow_runs import run_flow
from benchmarks.intervals import Span, seconds, within, without
from benchmarks.prefect_api import PrefectApi, prefect_api, unix, until
from benchmarks.stage import Ran, Stage, folder_of, stage
from benchmarks.tiny import fine_tune_parameters
from deployments.local_stack import running

AT_MOST = 1.5
POLL_S = 0.2
#: Ends at the gates: what follows the first step is not looked at, and nothing is created.
REFUSED = {"run": {"model": {"name": "no-such-model"}}}
DEPLOYMENT = "measured"
GAPS = 6


@dataclass(frozen=True)
class Begun:
    """How a triggered run began, in seconds: until it was taken, its process, its first step."""

    runner_s: float
    process_s: float
    first_step_s: float

    @property
    def ours_s(self) -> float:
        """Seconds from when the runner took the run to its first step."""
        return self.process_s + self.first_step_s


@dataclass(frozen=True)
class Parts:
    """Where the wall of one process went, in seconds."""

    wall_s: float
    calls_s: float
    before_flow_s: float
    steps_s: float
    between_steps_s: float
    after_flow_s: float
    tasks: int
    #: The longest times without a step: after which step, how many seconds.
    gaps: list[tuple[str, float]]

    @property
    def without_calls_s(self) -> float:
        """Seconds in which nothing was asked of Azure and nothing waited for."""
        return self.wall_s - self.calls_s


def measure(times: int) -> tuple[list[Figure], dict[str, Any]]:
    """Measure all three."""
    with folder_of("overhead") as folder, stage(folder) as here:
        given = json.dumps(fine_tune_parameters(POLL_S))
        ours = [whole(here, given) for _ in range(times + 1)]
        floor = [whole(here, str(ours[-1].tasks), "floor") for _ in range(times + 1)]
        begun = triggered(here, times)
    figures = [*_triggers(begun), *_wholes(ours[1:], floor[1:])]
    details = {
        "triggers": {
            flow: [{**asdict(one), "ours_s": one.ours_s} for one in found]
            for flow, found in begun.items()
        },
        "whole": {
            flow: [{**asdict(one), "without_calls_s": one.without_calls_s} for one in found]
            for flow, found in (("fine-tune", ours), ("floor", floor))
        },
        "note": "the first of each list is the cold one, and counts for nothing in 'whole'",
    }
    return figures, details


def triggered(here: Stage, times: int) -> dict[str, list[Begun]]:
    """Trigger both deployments, the empty flow's first; the first run of each is the cold one."""
    begun: dict[str, list[Begun]] = {}
    for flow, given in (("floor", {}), ("fine-tune", REFUSED)):
        with served(here) as api:  # a runner of its own each, so that each has a cold run
            id_ = deployed(api, flow)
            begun[flow] = [begin(api, id_, given) for _ in range(times + 1)]
    return begun


def begin_one(here: Stage) -> Begun:
    """Trigger the fine-tune on a runner that has run it once already."""
    with served(here) as api:
        id_ = deployed(api, "fine-tune")
        return [begin(api, id_, REFUSED) for _ in range(2)][-1]


@contextmanager
def served(here: Stage) -> Iterator[PrefectApi]:
    """Serve both flows for a while."""
    argv = [sys.executable, "-m", "benchmarks.served", DEPLOYMENT, "2"]
    with running(argv, here.folder / "serve.log", here.env), prefect_api(here.api) as api:
        yield api


def deployed(api: PrefectApi, flow: str) -> str:
    """Return the deployment's id, once it is ready."""
    return str(until("it is served", lambda: api.deployment(flow, DEPLOYMENT), 120)["id"])


def begin(api: PrefectApi, deployment: str, parameters: dict[str, Any]) -> Begun:
    """Trigger one run, and wait for its end, so that the next one begins alone."""
    id_ = api.trigger(deployment, parameters)
    until("the run ends", lambda: api.flow_run(id_)["state"]["type"] in ENDED, 300)
    steps = until("its first step is known", lambda: api.task_runs(id_), 60)
    at = {one["name"]: unix(one["timestamp"]) for one in reversed(api.states(id_))}
    return Begun(
        runner_s=round(at["Pending"] - at["Scheduled"], 2),
        process_s=round(at["Running"] - at["Pending"], 2),
        first_step_s=round(unix(steps[0]["start_time"]) - at["Running"], 2),
    )


ENDED = ("COMPLETED", "FAILED", "CRASHED", "CANCELLED")


def whole(here: Stage, parameters: str, flow: str = "fine_tune") -> Parts:
    """Run a flow in a fresh process and split its wall."""
    return parts(run_flow(here, parameters, flow))


def parts(ran: Ran) -> Parts:
    """Split the wall of a process that ran a flow."""
    flow: Span = (ran.left["flow"][0], ran.left["flow"][1])
    steps: list[Span] = [(begin, end) for _, begin, end in ran.left["steps"]]
    calls = within([(begin, end) for begin, end in ran.left["calls"]], (ran.began, ran.ended))
    inside = within(steps, flow)
    return Parts(
        wall_s=round(ran.wall_s, 2),
        calls_s=round(seconds(calls), 2),
        before_flow_s=round(flow[0] - ran.began, 2),
        steps_s=round(seconds(without(inside, calls)), 2),
        between_steps_s=round(seconds(without(without([flow], inside), calls)), 2),
        after_flow_s=round(ran.ended - flow[1], 2),
        tasks=len(steps),
        gaps=gaps(flow, ran.left["steps"])[:GAPS],
    )


def gaps(flow: Span, steps: list[tuple[str, float, float]]) -> list[tuple[str, float]]:
    """Return the times of the flow without a step, the longest first, and what ended before."""
    empty = without([flow], [(begin, end) for _, begin, end in steps])
    named = []
    for begin, end in empty:
        before = [(last, name) for name, _, last in steps if last <= begin]
        named.append((max(before)[1] if before else "the flow's begin", round(end - begin, 3)))
    return sorted(named, key=lambda one: -one[1])


def _triggers(begun: dict[str, list[Begun]]) -> list[Figure]:
    figures = []
    for case, pick in (("cold", slice(0, 1)), ("warm", slice(1, None))):
        ours, floor = (
            statistics.median(one.ours_s for one in begun[flow][pick])
            for flow in ("fine-tune", "floor")
        )
        waited = statistics.median(one.runner_s for one in begun["fine-tune"][pick])
        note = f"after {waited:.1f} s until the runner asked; Prefect's floor {floor:.2f} s"
        name = f"taken to first step, {case}"
        figures.append(Figure(name, ours, "s", note=note))
        figures.append(Figure(f"{name} / floor", ours / floor, "x", AT_MOST))
    return figures


def _wholes(ours: list[Parts], floor: list[Parts]) -> list[Figure]:
    def median(found: list[Parts], name: str) -> float:
        return float(statistics.median(getattr(one, name) for one in found))

    per_step = [median(found, "between_steps_s") / found[0].tasks for found in (ours, floor)]
    without_calls = [median(found, "without_calls_s") for found in (ours, floor)]
    tasks = f"{ours[0].tasks} tasks, the empty flow {floor[0].tasks}"
    return [
        Figure("between steps, a task", 1000 * per_step[0], "ms", note=tasks),
        Figure("between steps, a task, the empty flow", 1000 * per_step[1], "ms"),
        Figure("between steps, a task / floor", per_step[0] / per_step[1], "x", AT_MOST),
        Figure(
            "a whole run without latency, its calls taken off", without_calls[0], "s",
            note=f"wall {median(ours, 'wall_s'):.1f} s, in calls and pauses "
            f"{median(ours, 'calls_s'):.1f} s, in steps beside them "
            f"{median(ours, 'steps_s'):.1f} s",
        ),
        Figure("the empty flow, a whole process", without_calls[1], "s"),
        Figure("a whole run / floor", without_calls[0] / without_calls[1], "x", AT_MOST),
    ]  # fmt: skip


def main() -> None:
    """Measure, print, and write the report's part."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.overhead", description=__doc__)
    parser.add_argument("--times", type=int, default=2, help="warm runs of each; medians count")
    load = load_now()
    publish("overhead", *measure(parser.parse_args().times), load)


if __name__ == "__main__":
    main()
