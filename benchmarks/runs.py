"""Runs of a flow: in a process of its own, or triggered on a deployment; by the server's times."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING
from uuid import UUID, uuid4

from benchmarks.intervals import Span
from benchmarks.program import Ran, run_program
from benchmarks.stage import Stage, until
from deployments.local_stack import running

if TYPE_CHECKING:
    from prefect.client.orchestration import SyncPrefectClient
    from prefect.client.schemas.objects import FlowRun, TaskRun

#: Seconds between two looks at a run's steps that must agree: they reach the server as events.
APART_S = 2.0


@dataclass(frozen=True)
class Timed:
    """A run in a process of its own: the process, the flow's span, name and span of each step."""

    id: str
    process: Ran
    flow: Span
    steps: list[tuple[str, Span]]

    @property
    def seconds(self) -> dict[str, float]:
        """Seconds of each step, in the order in which they began."""
        return {name: round(end - begin, 2) for name, (begin, end) in self.steps}

    @property
    def calls(self) -> list[Span]:
        """Spans of calls to Azure and the Hub and of pauses between two looks."""
        return [(begin, end) for begin, end in self.process.left["calls"]]


def run_flow(here: Stage, given: str, flow: str = "fine-tune") -> Timed:
    """Run the flow once. What the server knows is read after the process has ended, in no wall."""
    ran = run_program("benchmarks.programs", here.folder, here.env, flow, given)
    with prefect_client(here) as client:
        tasks = _all_steps(client, UUID(ran.left["id"]))
        run = client.read_flow_run(UUID(ran.left["id"]))
    steps = [(step.name.rsplit("-", 1)[0], span(step)) for step in tasks]
    return Timed(ran.left["id"], ran, span(run), steps)


@contextmanager
def prefect_client(here: Stage) -> Iterator[SyncPrefectClient]:
    """A client of the stage's Prefect server, whatever this process is set to."""
    from prefect.client.orchestration import SyncPrefectClient

    with SyncPrefectClient(here.env["PREFECT_API_URL"]) as client:
        yield client


@dataclass(frozen=True)
class Served:
    """A deployment that a runner serves, by Prefect's own command."""

    client: SyncPrefectClient
    deployment: UUID
    pid: int

    def trigger(self, **parameters: object) -> UUID:
        """Create a run and return its id; a repeated request makes no second run."""
        return self.client.create_flow_run_from_deployment(
            self.deployment, parameters=parameters, idempotency_key=uuid4().hex
        ).id


@contextmanager
def served(here: Stage, entrypoint: str, limit: int) -> Iterator[Served]:
    """Serve the flow, at most ``limit`` runs at once."""
    from prefect.exceptions import ObjectNotFound

    argv = [sys.executable, "-m", "prefect", "flow", "serve", entrypoint, "--name", "measured"]
    argv += ["--limit", str(limit), "--no-pause-on-shutdown"]
    name = entrypoint.partition(":")[2].replace("_", "-")
    with running(argv, here.folder / "serve.log", here.env) as runner, prefect_client(here) as own:

        def ready() -> UUID | None:
            try:
                deployment = own.read_deployment_by_name(f"{name}/measured")
            except ObjectNotFound:
                return None
            return deployment.id if deployment.status == "READY" else None

        yield Served(own, until("it is served", ready, 180), runner.pid)


def steps_of(client: SyncPrefectClient, run: UUID) -> list[TaskRun]:
    """Return the flow run's task runs that have begun, in the order in which they did."""
    from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterId

    mine = FlowRunFilter(id=FlowRunFilterId(any_=[run]))
    begun = [step for step in client.read_task_runs(flow_run_filter=mine) if step.start_time]
    return sorted(begun, key=lambda step: str(step.start_time))


def ended(client: SyncPrefectClient, run: UUID) -> bool:
    """Whether the run is in a final state."""
    state = client.read_flow_run(run).state
    return state is not None and state.is_final()


def _all_steps(client: SyncPrefectClient, run: UUID) -> list[TaskRun]:
    seen: list[int] = []

    def all_there() -> list[TaskRun] | None:
        steps = steps_of(client, run)
        seen.append(len(steps) if all(step.end_time for step in steps) else 0)
        return steps if seen[-1] and seen[-2:] == [len(steps)] * 2 else None

    return until("all steps have reached the server", all_there, 120, APART_S)


def span(run: FlowRun | TaskRun) -> Span:
    """Return when a run began and ended, by the server's times; nought where it has not."""
    begin, end = run.start_time, run.end_time
    return begin.timestamp() if begin else 0.0, end.timestamp() if end else 0.0
