"""The wall of a fine-tune: the flow, the tutorial's calls by hand, and the critical path.

``python -m benchmarks.wall``. Both ways get an emulator of their own with the ``azure`` profile
scaled (0.05: a minute in 3 s), and a dataset with as small a share of the rows, so that the
proportions of data, waiting and serving are the real ones. What is not scaled is what a process
costs: imports, Prefect, the training of the tiny model, the SDK's own pauses between two looks at a
job (2 s and more). Each case is a fresh process, its start and its imports included:

- cold: nothing prepared, downloaded or uploaded, no cluster;
- warm: again on what that left. The emulator is restarted, so that no node is up, as on Azure,
  where an idle cluster gives its nodes back; and the script repeats what a person would repeat.
"""

from __future__ import annotations

import argparse
import json
import statistics
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from benchmarks import critical_path
from benchmarks.data import serving
from benchmarks.data_set import make
from benchmarks.figures import BENCH, Figure, load_now, publish
from benchmarks.flow_runs import run_flow
from benchmarks.stage import (
    Ran,
    folder_of,
    newest_job,
    own_folders,
    program_seconds,
    run_program,
    stage,
)
from benchmarks.tiny import PERCENTAGE, fine_tune_parameters
from deployments.local_stack import emulator
from emulator.latency import Profile

SCALE = 0.05
POLL_S = 30.0  # the flow's default between two looks at a job, before scaling
AT_MOST = {"cold": 0.8, "warm": 0.6}
OVER_PATH = 1.1
CASES = ("cold", "warm")


@dataclass(frozen=True)
class Case:
    """One run: real seconds of its process, of its steps, and of the job's own programs."""

    way: str
    case: str
    wall_s: float
    steps: dict[str, float]
    job_programs_s: float
    requests: int
    #: Seconds from the job's end, by the service's record, until the program went on.
    noticed_s: float


def measure(scale: float, times: int) -> tuple[list[Figure], dict[str, Any]]:
    """Run both ways, cold and warm, ``times`` times each; compare the medians."""
    cases: list[Case] = []
    with folder_of("wall") as folder, serving(make(BENCH / "hub", scale)) as hub:
        for turn in range(times):
            for way in (by_hand, by_flow):
                for one in way(folder / f"{way.__name__}-{turn}", scale, hub.url):
                    print(f"{one.way}, {one.case}: {one.wall_s:.1f} s", flush=True)
                    cases.append(one)
    profile = Profile("azure", scale)
    figures = [figure for case in CASES for figure in _figures(cases, case, profile)]
    details = {
        "scale": scale,
        "rows": f"{scale:g} of the full dataset, {PERCENTAGE} % of them",
        "times": times,
        "formula": critical_path.__doc__,
        "cases": [asdict(one) for one in cases],
    }
    return figures, details


def options(scale: float) -> list[str]:
    """Return the emulator's options."""
    return ["--profile", "azure", "--time-scale", f"{scale:g}"]


def by_hand(folder: Path, scale: float, hub: str) -> Iterator[Case]:
    """Run the plain script, cold and then warm."""
    state = folder / "emulator"
    for case in CASES:
        folder.mkdir(parents=True, exist_ok=True)
        given = ["--weights", "tiny", "--preload", *options(scale)]
        with emulator(state, *given) as azure:
            env = {**azure, **own_folders(folder), "HF_ENDPOINT": hub}
            env["SCRIPT_FOLDER"] = str(folder / "script")
            ran = run_program("benchmarks.tutorial_script", folder, env)
            requests = _requests(azure)
        job, _ = newest_job(state)
        noticed = float(ran.left["stream_ended"]) - job["ended"]
        yield _case("by hand", case, ran, dict(ran.left["steps"]), state, requests, noticed)


def by_flow(folder: Path, scale: float, hub: str) -> Iterator[Case]:
    """Run the flow, cold and then warm; the Prefect server is up, as it is where flows run."""
    given = json.dumps(fine_tune_parameters(POLL_S * scale))
    for case in CASES:
        with stage(folder, *options(scale), HF_ENDPOINT=hub) as here:
            ran = run_flow(here, given)
            requests = _requests(here.env)
        job, _ = newest_job(folder / "emulator")
        noticed = _began(ran, "Review training and evaluation metrics") - job["ended"]
        state = folder / "emulator"
        yield _case("flow", case, ran, step_seconds(ran), state, requests, noticed)


def step_seconds(ran: Ran) -> dict[str, float]:
    """Return the seconds of each step of a run of the flow, in the order in which they began."""
    return {name: round(end - begin, 2) for name, begin, end in ran.left["steps"]}


def _began(ran: Ran, step: str) -> float:
    return float(next(begin for name, begin, _ in ran.left["steps"] if name == step))


def _requests(env: dict[str, str]) -> int:
    import httpx

    answer = httpx.get(f"{env['EMULATOR_ADMIN_URL']}/requests", trust_env=False, timeout=60)
    return len(answer.raise_for_status().json()["requests"])


def _case(
    way: str,
    case: str,
    ran: Ran,
    steps: dict[str, float],
    state: Path,
    requests: int,
    noticed: float,
) -> Case:
    _, programs = newest_job(state)
    return Case(
        way=way,
        case=case,
        wall_s=round(ran.wall_s, 2),
        steps=steps,
        job_programs_s=round(program_seconds(programs), 2),
        requests=requests,
        noticed_s=round(noticed, 2),
    )


def _figures(cases: list[Case], case: str, profile: Profile) -> list[Figure]:
    there = case == "warm"
    hand = _median([one for one in cases if (one.way, one.case) == ("by hand", case)])
    flow = _median([one for one in cases if (one.way, one.case) == ("flow", case)])
    path = critical_path.seconds(profile, measured(flow), cluster_there=there)
    whole = replace(profile, time_scale=1.0)
    real = [
        critical_path.at_full_scale(one.wall_s, profile, names, cluster_there=there)
        for one, names in ((hand, critical_path.SEQUENCE), (flow, _flow_waits(flow, profile)))
    ]
    real_path = critical_path.seconds(whole, measured(flow), cluster_there=there)
    return [
        Figure(f"{case}, by hand", hand.wall_s, "s", note=f"{hand.requests} requests"),
        Figure(f"{case}, the flow", flow.wall_s, "s", note=f"{flow.requests} requests"),
        Figure(f"{case}, critical path", path, "s"),
        Figure(f"{case}, flow / by hand", flow.wall_s / hand.wall_s, "x", AT_MOST[case]),
        Figure(f"{case}, flow / critical path", flow.wall_s / path, "x", OVER_PATH),
        Figure(
            f"{case}, flow / by hand, latencies unscaled", real[1] / real[0], "x",
            note="computed: the rest as measured",
        ),
        Figure(
            f"{case}, flow / critical path, latencies unscaled", real[1] / real_path, "x",
            note="computed: the rest as measured",
        ),
        Figure(f"{case}, job's end to next step, by hand", hand.noticed_s, "s"),
        Figure(f"{case}, job's end to next step, the flow", flow.noticed_s, "s"),
    ]  # fmt: skip


def measured(flow: Case) -> critical_path.Measured:
    """Return the seconds of a run that no profile knows."""
    steps = flow.steps
    return critical_path.Measured(
        data=steps["Prepare the data"],
        upload=steps["Upload the data"],
        job=flow.job_programs_s,
        scoring=steps["Test the endpoint"],
    )


def _flow_waits(flow: Case, profile: Profile) -> tuple[str, ...]:
    """Return the latencies that the flow waits for: the cluster's too, where data is sooner."""
    known = measured(flow)
    slower = profile.seconds("compute.create") > known.data + known.upload
    return ("compute.create", *critical_path.PATH) if slower else critical_path.PATH


def _median(cases: list[Case]) -> Case:
    """Return the case whose wall is the median (of an even number the faster one)."""
    wall = statistics.median_low(one.wall_s for one in cases)
    return next(one for one in cases if one.wall_s == wall)


def main() -> None:
    """Measure, print, and write the report's part."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.wall", description=__doc__)
    parser.add_argument("--scale", type=float, default=SCALE, help="of latencies and rows")
    parser.add_argument("--times", type=int, default=1, help="runs of each case; medians count")
    given = parser.parse_args()
    load = load_now()
    publish("wall", *measure(given.scale, given.times), load)


if __name__ == "__main__":
    main()
