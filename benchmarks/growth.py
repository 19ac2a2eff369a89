"""What grows: ten times the rows, and ten thousand earlier runs, jobs and models.

How that is measured: docs/performance.md, *Growth*.
"""

from __future__ import annotations

import json
import time
from dataclasses import asdict
from typing import Any

from benchmarks.data_set import make
from benchmarks.earlier import add_flow_runs, add_jobs_and_models
from benchmarks.overhead import FINE_TUNE, POLL_S, REFUSED, begin, parts
from benchmarks.report import BENCH, Figure, main
from benchmarks.runs import Timed, run_flow
from benchmarks.stage import Stage, folder_of, hub, stage
from benchmarks.tiny import PERCENTAGE, SCALE, fine_tune_parameters

TIMES_THE_ROWS = 10
#: Steps whose growth is named, and from how many seconds on.
NAMED, LEAST_S = 4, 0.1


def measure(earlier: int) -> tuple[list[Figure], dict[str, Any]]:
    """Measure both kinds of growth."""
    with folder_of("growth") as folder, hub(make(BENCH / "hub", SCALE)) as data:
        with stage(folder, HF_ENDPOINT=data.url) as here:
            few = run(here, PERCENTAGE)
            many = run(here, PERCENTAGE * TIMES_THE_ROWS)
            before = run(here, PERCENTAGE)
            begun = begin(here, FINE_TUNE, REFUSED, times=2)[-1].ours_s
        rows = add_flow_runs(folder / "prefect" / "prefect.db", before.id, earlier)
        rows |= add_jobs_and_models(folder / "emulator" / "state.db", earlier)
        started = time.monotonic()
        with stage(folder, HF_ENDPOINT=data.url) as here:
            start = time.monotonic() - started
            first = run(here, PERCENTAGE)
            after = run(here, PERCENTAGE)
            begun_after = begin(here, FINE_TUNE, REFUSED, times=2)[-1].ours_s
    figures = [
        *_compared(f"{TIMES_THE_ROWS} x the rows", few, many),
        *_compared(f"{earlier} earlier runs, jobs, models", before, after),
        _grown(f"{earlier} earlier ones: taken to first step", begun, begun_after),
        Figure(f"{earlier} earlier ones: emulator and Prefect server start", start, "s"),
    ]
    runs = {"few": few, "many": many, "before": before, "first": first, "after": after}
    told = {name: {**asdict(parts(timed)), "steps": timed.seconds} for name, timed in runs.items()}
    return figures, {"runs": told, "rows": rows}


def run(here: Stage, percentage: float) -> Timed:
    """Run the flow once in a fresh process."""
    ran = run_flow(here, json.dumps(fine_tune_parameters(POLL_S, percentage)))
    print(f"{percentage} % of the rows: {ran.process.wall_s:.1f} s", flush=True)
    return ran


def _compared(name: str, before: Timed, after: Timed) -> list[Figure]:
    was, now = parts(before), parts(after)
    return [
        _grown(f"{name}: whole run", was.wall_s, now.wall_s, f"; {_grew(before, after)}"),
        _grown(f"{name}: in calls and pauses", was.calls_s, now.calls_s),
        _grown(f"{name}: between steps", was.between_steps_s, now.between_steps_s),
    ]


def _grown(name: str, was: float, now: float, more: str = "") -> Figure:
    return Figure(f"{name} / before", now / was, note=f"{was:.2f} s, then {now:.2f} s{more}")


def _grew(before: Timed, after: Timed) -> str:
    """Name the steps that grew most, with their seconds before and after."""
    was, now = before.seconds, after.seconds
    most = sorted(now, key=lambda name: was.get(name, 0.0) - now[name])[:NAMED]
    grown = [name for name in most if now[name] - was.get(name, 0.0) > LEAST_S]
    told = (f"{name} {was.get(name, 0.0):.1f} to {now[name]:.1f} s" for name in grown)
    return "grew: " + (", ".join(told) or "no step")


if __name__ == "__main__":
    main("growth", measure, __doc__, earlier=(10_000, "runs, jobs and models each"))
