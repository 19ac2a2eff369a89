"""A whole run of a flow in a fresh process, and when its steps began and ended."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from benchmarks.prefect_api import PrefectApi, prefect_api, unix, until
from benchmarks.stage import Ran, Stage, run_program

#: Seconds between two looks at a run's steps that must agree: they reach the server as events.
APART_S = 2.0


def run_flow(here: Stage, parameters: str, flow: str = "fine_tune") -> Ran:
    """Run the flow by ``benchmarks.one_run``; what is left has ``flow`` and ``steps`` besides.

    ``flow`` is the span of the flow run, ``steps`` are name, begin and end of each task run, by the
    Prefect server's times, in unix seconds. They are read after the process has ended, so that
    reading them is in nobody's wall.
    """
    ran = run_program("benchmarks.one_run", here.folder, here.env, parameters, flow)
    with prefect_api(here.api) as api:
        return replace(ran, left={**ran.left, **_spans(api, str(ran.left["id"]))})


def _spans(api: PrefectApi, id_: str) -> dict[str, Any]:
    seen: list[int] = []

    def all_there() -> list[dict[str, Any]] | None:
        found = api.task_runs(id_)
        seen.append(len(found) if all(one["end_time"] for one in found) else 0)
        return found if seen[-1] and seen[-2:] == [len(found)] * 2 else None

    steps = until("all steps have reached the server", all_there, 120, APART_S)
    whole = api.flow_run(id_)
    return {
        "flow": [unix(whole["start_time"]), unix(whole["end_time"])],
        "steps": [
            [one["name"].rsplit("-", 1)[0], unix(one["start_time"]), unix(one["end_time"])]
            for one in steps
        ],
    }
