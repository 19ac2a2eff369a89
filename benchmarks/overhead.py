"""What is ours and Prefect's rather than Azure's, against an emulator without latency.

From trigger to first step, between steps, and the whole process without its calls, each beside an
empty flow. How that is measured: docs/performance.md, *Overhead*.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from statistics import median
from typing import Any

from benchmarks.intervals import seconds, within, without
from benchmarks.report import Figure, main
from benchmarks.runs import Served, Timed, ended, run_flow, served, span, steps_of
from benchmarks.stage import Stage, folder_of, stage, until
from benchmarks.tiny import fine_tune_parameters

AT_MOST = 1.5
POLL_S = 0.2
#: Ends at the gates: what follows the first step is not looked at, and nothing is created.
REFUSED = {"run": {"model": {"name": "no-such-model"}}}
FINE_TUNE, FLOOR = "flows/fine_tune.py:fine_tune", "benchmarks/floor_flow.py:floor"


@dataclass(frozen=True)
class Begun:
    """How a triggered run began, in seconds: until it was taken; from there to its first step."""

    runner_s: float
    ours_s: float


@dataclass(frozen=True)
class Parts:
    """Where the wall of one process went, in seconds."""

    wall_s: float
    calls_s: float
    steps_s: float
    between_steps_s: float
    tasks: int

    @property
    def without_calls_s(self) -> float:
        """Seconds in which nothing was asked of Azure and nothing waited for."""
        return self.wall_s - self.calls_s


def measure(times: int) -> tuple[list[Figure], dict[str, Any]]:
    """Measure all three; of whole runs the first, which is cold, does not count."""
    with folder_of("overhead") as folder, stage(folder) as here:
        given = json.dumps(fine_tune_parameters(POLL_S))
        ours = [parts(run_flow(here, given)) for _ in range(times + 1)]
        tasks = str(ours[-1].tasks)
        floor = [parts(run_flow(here, tasks, "floor")) for _ in range(times + 1)]
        # A runner of its own each, so that each has a cold run.
        begun_floor = begin(here, FLOOR, {}, times + 1)
        begun = begin(here, FINE_TUNE, REFUSED, times + 1)
    figures = [
        *_begun("cold", begun[:1], begun_floor[:1]),
        *_begun("warm", begun[1:], begun_floor[1:]),
        *_wholes(ours[1:], floor[1:]),
    ]
    lists: dict[str, list[Any]] = {
        "begun": begun,
        "begun_floor": begun_floor,
        "whole": ours,
        "whole_floor": floor,
    }
    return figures, {name: [asdict(case) for case in cases] for name, cases in lists.items()}


def begin(here: Stage, entrypoint: str, given: dict[str, Any], times: int) -> list[Begun]:
    """Trigger runs on a newly started runner, each after the end of the one before."""
    with served(here, entrypoint, limit=2) as deployment:
        return [_begin(deployment, given) for _ in range(times)]


def _begin(deployment: Served, given: dict[str, Any]) -> Begun:
    client, run = deployment.client, deployment.trigger(**given)
    until("the run ends", lambda: ended(client, run), 300)
    first = until("its first step is known", lambda: steps_of(client, run), 60)[0]
    states = client.read_flow_run_states(run)
    scheduled, taken = (
        min(state.timestamp.timestamp() for state in states if state.name == name)
        for name in ("Scheduled", "Pending")
    )
    begun, _ = span(first)
    return Begun(round(taken - scheduled, 2), round(begun - taken, 2))


def parts(run: Timed) -> Parts:
    """Split the wall of a process that ran a flow."""
    calls = within(run.calls, (run.process.began, run.process.ended))
    steps = within((span for _, span in run.steps), run.flow)
    return Parts(
        wall_s=round(run.process.wall_s, 2),
        calls_s=round(seconds(calls), 2),
        steps_s=round(seconds(without(steps, calls)), 2),
        between_steps_s=round(seconds(without(without([run.flow], steps), calls)), 2),
        tasks=len(run.steps),
    )


def _begun(case: str, ours: list[Begun], floor: list[Begun]) -> list[Figure]:
    mine, least = (median(begun.ours_s for begun in runs) for runs in (ours, floor))
    waited = median(begun.runner_s for begun in ours)
    note = f"after {waited:.1f} s until the runner asked; Prefect's floor {least:.2f} s"
    name = f"taken to first step, {case}"
    return [
        Figure(name, mine, "s", note=note),
        Figure(f"{name} / floor", mine / least, at_most=AT_MOST),
    ]


def _wholes(ours: list[Parts], floor: list[Parts]) -> list[Figure]:
    def of(runs: list[Parts], name: str) -> float:
        return float(median(getattr(run, name) for run in runs))

    step, least = (1000 * of(x, "between_steps_s") / x[0].tasks for x in (ours, floor))
    whole, empty = (of(runs, "without_calls_s") for runs in (ours, floor))
    tasks = f"{ours[0].tasks} tasks, the empty flow {floor[0].tasks}"
    split = (
        f"wall {of(ours, 'wall_s'):.1f} s, in calls and pauses {of(ours, 'calls_s'):.1f} s, "
        f"in steps beside them {of(ours, 'steps_s'):.1f} s"
    )
    return [
        Figure("between steps, a task", step, "ms", note=tasks),
        Figure("between steps, a task, the empty flow", least, "ms"),
        Figure("between steps, a task / floor", step / least, at_most=AT_MOST),
        Figure("a whole run without latency, its calls taken off", whole, "s", note=split),
        Figure("the empty flow, a whole process", empty, "s"),
        Figure("a whole run / floor", whole / empty, at_most=AT_MOST),
    ]


if __name__ == "__main__":
    main("overhead", measure, __doc__, times=(2, "warm runs of each; medians count"))
