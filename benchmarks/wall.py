"""The wall of a fine-tune: the flow, the tutorial's calls by hand, and the critical path.

Latencies and rows are scaled alike; what a process costs is not: imports, Prefect, the training of
the tiny model, the SDK's own pauses. How that is measured: docs/performance.md, *Wall of a
fine-tune*.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from statistics import median_low
from typing import Any

from benchmarks import critical_path
from benchmarks.critical_path import Measured, at_full_scale
from benchmarks.data_set import make
from benchmarks.program import run_program
from benchmarks.report import BENCH, Figure, main
from benchmarks.runs import run_flow
from benchmarks.stage import Stage, emulator_alone, folder_of, hub, stage
from benchmarks.tiny import PERCENTAGE, SCALE, fine_tune_parameters
from emulator.latency import Profile

POLL_S = 30.0  # the flow's default between two looks at a job, before scaling
AT_MOST = {"cold": 0.8, "warm": 0.6}
OVER_PATH = 1.1
CASES = ("cold", "warm")
NEXT_STEP = "Review training and evaluation metrics"


@dataclass(frozen=True)
class Case:
    """One run: real seconds of its process, of its job's programs, of the flow's steps."""

    way: str
    case: str
    wall_s: float
    requests: int
    job_s: float
    #: Seconds from the job's end, by the service's record, until the program went on.
    noticed_s: float
    steps: dict[str, float] = field(default_factory=dict)

    @property
    def measured(self) -> Measured:
        """The seconds of a run of the flow that no profile knows."""
        names = ("Prepare the data", "Upload the data", "Test the endpoint")
        data, upload, scoring = (self.steps[name] for name in names)
        return Measured(data, upload, self.job_s, scoring)


def measure(scale: float, times: int) -> tuple[list[Figure], dict[str, Any]]:
    """Run both ways, cold and warm, ``times`` times each; compare the medians."""
    cases: list[Case] = []
    with folder_of("wall") as folder, hub(make(BENCH / "hub", scale)) as data:
        for turn in range(times):
            for way in (by_hand, by_flow):
                for run in way(folder / f"{way.__name__}-{turn}", scale, data.url):
                    print(f"{run.way}, {run.case}: {run.wall_s:.1f} s", flush=True)
                    cases.append(run)
    profile = Profile("azure", scale)
    figures = [figure for case in CASES for figure in _figures(cases, case, profile)]
    return figures, {"scale": scale, "percentage": PERCENTAGE, "cases": [asdict(x) for x in cases]}


def azure(scale: float) -> list[str]:
    """Return the emulator's options."""
    return ["--profile", "azure", "--time-scale", f"{scale:g}"]


def by_hand(folder: Path, scale: float, hub_url: str) -> Iterator[Case]:
    """Run the plain script, cold and then warm."""
    own = {"HF_ENDPOINT": hub_url, "SCRIPT_FOLDER": str(folder / "script")}
    for case in CASES:
        with emulator_alone(folder, *azure(scale), **own) as here:
            ran = run_program("benchmarks.tutorial_script", folder, here.env)
            job = _job(here)
            noticed = round(ran.left["stream_ended"] - job["ended"], 2)
            requests = len(here.requests())
        yield Case("by hand", case, ran.wall_s, requests, job["programs_s"], noticed)


def by_flow(folder: Path, scale: float, hub_url: str) -> Iterator[Case]:
    """Run the flow, cold and then warm; the Prefect server is up, as it is where flows run."""
    given = json.dumps(fine_tune_parameters(POLL_S * scale))
    for case in CASES:
        with stage(folder, *azure(scale), HF_ENDPOINT=hub_url) as here:
            run = run_flow(here, given)
            job = _job(here)
            noticed = round(dict(run.steps)[NEXT_STEP][0] - job["ended"], 2)
            requests = len(here.requests())
        wall, programs = run.process.wall_s, job["programs_s"]
        yield Case("flow", case, wall, requests, programs, noticed, run.seconds)


def _job(here: Stage) -> dict[str, float]:
    """Return when the newest job ended, and how long its own programs ran, by the service."""
    with here.jobs() as jobs:
        job = jobs.all()[0]
        ran = [step for step in jobs.steps(job) if step["started"] and step["ended"]]
    programs = sum(step["ended"] - step["started"] for step in ran)
    return {"ended": job["ended"], "programs_s": round(programs, 2)}


def _figures(cases: list[Case], case: str, profile: Profile) -> list[Figure]:
    there = case == "warm"
    hand, flow = (_median(cases, way, case) for way in ("by hand", "flow"))
    whole = replace(profile, time_scale=1.0)
    path, real_path = (
        critical_path.seconds(scaled, flow.measured, cluster_there=there)
        for scaled in (profile, whole)
    )
    real_hand, real_flow = (
        at_full_scale(run.wall_s, profile, waits, cluster_there=there)
        for run, waits in ((hand, critical_path.SEQUENCE), (flow, _flow_waits(flow, profile)))
    )
    unscaled, note = "latencies unscaled", "computed: the rest as measured"
    by_hand, by_path = f"{case}, flow / by hand", f"{case}, flow / critical path"
    noticed = f"{case}, job's end to next step"
    return [
        Figure(f"{case}, by hand", hand.wall_s, "s", note=f"{hand.requests} requests"),
        Figure(f"{case}, the flow", flow.wall_s, "s", note=f"{flow.requests} requests"),
        Figure(f"{case}, critical path", path, "s"),
        Figure(by_hand, flow.wall_s / hand.wall_s, at_most=AT_MOST[case]),
        Figure(by_path, flow.wall_s / path, at_most=OVER_PATH),
        Figure(f"{by_hand}, {unscaled}", real_flow / real_hand, note=note),
        Figure(f"{by_path}, {unscaled}", real_flow / real_path, note=note),
        Figure(f"{noticed}, by hand", hand.noticed_s, "s"),
        Figure(f"{noticed}, the flow", flow.noticed_s, "s"),
    ]


def _flow_waits(flow: Case, profile: Profile) -> tuple[str, ...]:
    """Return the latencies that the flow waits for: the cluster's too, where data is sooner."""
    known = flow.measured
    slower = profile.seconds("compute.create") > known.data + known.upload
    return ("compute.create", *critical_path.PATH) if slower else critical_path.PATH


def _median(cases: list[Case], way: str, case: str) -> Case:
    """Return the case of the median wall (of an even number the faster one)."""
    mine = {run.wall_s: run for run in cases if (run.way, run.case) == (way, case)}
    return mine[median_low(mine)]


OPTIONS = {"scale": (SCALE, "of latencies and rows"), "times": (1, "runs of each; medians count")}

if __name__ == "__main__":
    main("wall", measure, __doc__, **OPTIONS)
