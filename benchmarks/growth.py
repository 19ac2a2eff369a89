"""What grows: ten times the rows, and ten thousand earlier runs, jobs and models.

``python -m benchmarks.growth``. Whole runs against an emulator without latency, split as
``benchmarks.overhead`` does, so that nothing hides behind a wait. First at 5 % of the rows and at
50 %, each with nothing cached; then at 5 % again, with everything cached, before and after the
databases of Prefect and of the emulator have been filled (``benchmarks.earlier``: straight into
their files, while both are stopped).
"""

from __future__ import annotations

import argparse
import json
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from benchmarks.data import serving
from benchmarks.data_set import make
from benchmarks.earlier import add_flow_runs, add_jobs_and_models
from benchmarks.figures import BENCH, Figure, load_now, publish
from benchmarks.flow_runs import run_flow
from benchmarks.overhead import POLL_S, Parts, begin_one, parts
from benchmarks.stage import Stage, folder_of, stage
from benchmarks.tiny import PERCENTAGE, fine_tune_parameters
from benchmarks.wall import SCALE, step_seconds

EARLIER = 10_000
TIMES_THE_ROWS = 10
#: Steps whose growth is named, and from how many seconds on.
NAMED, LEAST_S = 4, 0.1


@dataclass(frozen=True)
class Grown:
    """One run: how it was split, and its steps' seconds."""

    name: str
    parts: Parts
    steps: dict[str, float]
    flow_run: str


def measure(earlier: int) -> tuple[list[Figure], dict[str, Any]]:
    """Measure both kinds of growth."""
    with folder_of("growth") as folder, serving(make(BENCH / "hub", SCALE)) as hub:
        with stage(folder, HF_ENDPOINT=hub.url) as here:
            few = run(here, "5 % of the rows", PERCENTAGE)
            many = run(here, "50 % of the rows", PERCENTAGE * TIMES_THE_ROWS)
            before = run(here, "nothing earlier", PERCENTAGE)
            begun = begin_one(here)
        rows = fill(folder, before.flow_run, earlier)
        started = time.monotonic()
        with stage(folder, HF_ENDPOINT=hub.url) as here:
            start = time.monotonic() - started
            first = run(here, f"{earlier} earlier ones, first", PERCENTAGE)
            after = run(here, f"{earlier} earlier ones", PERCENTAGE)
            begun_after = begin_one(here)
    figures = [
        *_compared("10 x the rows", few, many),
        *_compared(f"{earlier} earlier runs, jobs, models", before, after),
        Figure(
            f"{earlier} earlier ones: taken to first step / before",
            begun_after.ours_s / begun.ours_s,
            note=f"{begun.ours_s:.2f} s, then {begun_after.ours_s:.2f} s",
        ),
        Figure(f"{earlier} earlier ones: emulator and Prefect server start", start, "s"),
    ]
    runs = [asdict(one) for one in (few, many, before, first, after)]
    return figures, {"runs": runs, "rows": rows, "begun": [asdict(begun), asdict(begun_after)]}


def run(here: Stage, name: str, percentage: float) -> Grown:
    """Run the flow once in a fresh process."""
    given = json.dumps(fine_tune_parameters(POLL_S, percentage))
    ran = run_flow(here, given)
    found = Grown(name, parts(ran), step_seconds(ran), str(ran.left["id"]))
    print(f"{name}: {found.parts.wall_s:.1f} s", flush=True)
    return found


def fill(folder: Path, flow_run: str, count: int) -> dict[str, int]:
    """Put the earlier ones into both databases; return the rows that they hold then."""
    began = time.monotonic()
    rows = add_flow_runs(folder / "prefect" / "prefect.db", flow_run, count)
    rows |= add_jobs_and_models(folder / "emulator" / "state.db", count)
    print(f"filled in {time.monotonic() - began:.0f} s: {rows}", flush=True)
    return rows


def _compared(name: str, before: Grown, after: Grown) -> list[Figure]:
    was, now = before.parts, after.parts
    return [
        Figure(
            f"{name}: whole run / before", now.wall_s / was.wall_s,
            note=f"{was.wall_s:.1f} s, then {now.wall_s:.1f} s; {_grew(before, after)}",
        ),
        Figure(
            f"{name}: in calls and pauses / before", now.calls_s / was.calls_s,
            note=f"{was.calls_s:.1f} s, then {now.calls_s:.1f} s",
        ),
        Figure(
            f"{name}: between steps / before", now.between_steps_s / was.between_steps_s,
            note=f"{was.between_steps_s:.2f} s, then {now.between_steps_s:.2f} s",
        ),
    ]  # fmt: skip


def _grew(before: Grown, after: Grown) -> str:
    """Name the steps that grew most, with their seconds before and after."""
    more = {name: now - before.steps.get(name, 0.0) for name, now in after.steps.items()}
    most = [one for one in sorted(more, key=lambda one: -more[one])[:NAMED] if more[one] > LEAST_S]
    told = (f"{one} {before.steps.get(one, 0.0):.1f} to {after.steps[one]:.1f} s" for one in most)
    return "grew: " + (", ".join(told) or "no step")


def main() -> None:
    """Measure, print, and write the report's part."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.growth", description=__doc__)
    parser.add_argument("--earlier", type=int, default=EARLIER, help="runs, jobs and models each")
    load = load_now()
    publish("growth", *measure(parser.parse_args().earlier), load)


if __name__ == "__main__":
    main()
