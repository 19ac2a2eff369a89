"""The programs that cases of ``overhead``, ``wall``, ``growth`` and ``waiting`` start.

``fine-tune`` and ``floor`` run a flow once, timed: they leave the flow run's id and the spans (unix
seconds) of calls to Azure or the Hub and of pauses between two looks at them. ``scale`` makes or
scales clusters: with no nodes a cluster holds every job in its queue, at no cost. ``automation``
installs what resumes a run on its job's event. ``poll`` runs the poller once.
"""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable
from typing import Any

from benchmarks.program import arguments, leave

#: Modules whose sleeps are waiting for the service: the SDK's pollers and our own wait.
WAITING = ("azure", "msrest", "tasks.waiting", "urllib3")


class Calls:
    """Spans of HTTP calls to Azure and the Hub, and of sleeps between two looks at them.

    Both libraries are patched below the SDK, which is the same for whoever calls; what Prefect's
    client sends goes by another library and is not among them.
    """

    def __init__(self) -> None:
        self.spans: list[tuple[float, float]] = []
        self._adding = threading.Lock()

    def watch(self) -> None:
        """Begin; before anything else is imported, since ``time.sleep`` is somebody's default."""
        import httpx2
        import urllib3

        real_sleep = time.sleep

        def sleep(seconds: Any) -> None:
            caller = str(sys._getframe(1).f_globals.get("__name__", ""))
            began = time.time()
            real_sleep(seconds)
            if caller.startswith(WAITING):
                self._add(began)

        time.sleep = sleep
        pool: Any = urllib3.HTTPConnectionPool
        pool.urlopen = self._timed(pool.urlopen)
        client: Any = httpx2.Client
        client.send = self._timed(client.send)

    def _timed(self, function: Any) -> Any:
        def timed(*args: Any, **kwargs: Any) -> Any:
            began = time.time()
            try:
                return function(*args, **kwargs)
            finally:
                self._add(began)

        return timed

    def _add(self, began: float) -> None:
        with self._adding:
            self.spans.append((began, time.time()))


def fine_tune(run: str) -> dict[str, Any]:
    """Run the fine-tune once; ``run`` is its parameter as JSON."""
    calls = Calls()
    calls.watch()
    from flows.fine_tune import fine_tune as flow
    from workspace.types import FineTune

    return _ran(flow(FineTune.model_validate_json(run), return_state=True), calls)


def floor(tasks: str) -> dict[str, Any]:
    """Run the empty flow once, with so many tasks."""
    calls = Calls()
    calls.watch()
    from benchmarks.floor_flow import floor as flow

    return _ran(flow(int(tasks), return_state=True), calls)


def _ran(state: Any, calls: Calls) -> dict[str, Any]:
    state.result()  # raises what the run failed with
    return {"id": str(state.state_details.flow_run_id), "calls": calls.spans}


def scale(*clusters: str) -> dict[str, Any]:
    """Bring every cluster (NAME=NODES) to so many nodes at most."""
    from azure.ai.ml.entities import AmlCompute

    from benchmarks.tiny import SIZE
    from benchmarks.tutorial_script import clients

    workspace, _ = clients()
    for wanted in clusters:
        name, _, nodes = wanted.partition("=")
        cluster = AmlCompute(name=name, size=SIZE, tier="dedicated", max_instances=int(nodes))
        workspace.compute.begin_create_or_update(cluster).wait()
    return {}


def automation() -> dict[str, Any]:
    """Install the automation that resumes runs, without those that need the reaper."""
    from uuid import uuid4

    from prefect.client.orchestration import get_client
    from prefect.events.actions import DoNothing, ResumeFlowRun

    from deployments.automations import Limits, automations, install

    declared = automations(DoNothing(), uuid4(), Limits())
    wanted = [rule for rule in declared if isinstance(rule.actions[0], ResumeFlowRun)]
    with get_client(sync_client=True) as client:
        return {"installed": install(client, wanted)}


def poll() -> dict[str, Any]:
    """Run the poller once."""
    began = time.monotonic()
    from flows.resume import resume

    resumed = len(resume())
    return {"resumed": resumed, "seconds": round(time.monotonic() - began, 2)}


PROGRAMS: dict[str, Callable[..., dict[str, Any]]] = {
    "fine-tune": fine_tune,
    "floor": floor,
    "scale": scale,
    "automation": automation,
    "poll": poll,
}


def main() -> None:
    """Run one of the programs."""
    parser = arguments("benchmarks.programs", __doc__)
    parser.add_argument("program", choices=PROGRAMS)
    parser.add_argument("given", nargs="*", help="RUN as JSON, TASKS, or NAME=NODES ...")
    given = parser.parse_args()
    leave(given.left, **PROGRAMS[given.program](*given.given))


if __name__ == "__main__":
    main()
