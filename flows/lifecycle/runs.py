"""Flow runs as Prefect knows them: which live, which fell silent, and taking one up again."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import TYPE_CHECKING, Any
from uuid import UUID

import httpx
from prefect import get_run_logger, task
from prefect.cache_policies import NO_CACHE
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.responses import SetStateStatus
from prefect.exceptions import ObjectNotFound, PrefectException
from prefect.states import AwaitingRetry, Cancelled, Crashed
from pydantic import ValidationError

from finetuning.azure.naming import job_name, run_key
from finetuning.azure.ownership import Owner
from finetuning.form.run import FineTune
from finetuning.planning.plan import Plan
from flows.lifecycle.history import retried_at, states_of, times_begun
from flows.lifecycle.server import server_time
from tasks.step import REPEATED
from tasks.suspended import SuspendedRun

if TYPE_CHECKING:
    from prefect.client.schemas.objects import FlowRun, State


#: How often a run is begun before its orphans are removed instead; a retry counts anew.
MOST_ATTEMPTS = 3


HEARTBEAT = "prefect.flow-run.heartbeat"


#: A suspended run is resumed by the poller this long before Prefect's server would fail it.
GRACE = timedelta(minutes=15)


#: How a task asks Prefect's server: again while it does not answer.
ASKED: dict[str, Any] = {"cache_policy": NO_CACHE, **REPEATED}


@dataclass(frozen=True)
class Patiences:
    """How long to wait until something is done about a run, by the server's clock.

    ``silent``: without a heartbeat of a run that runs. ``pending``: since a worker claimed a run
    that nobody began. ``waiting``: since a run was due that nobody claimed; its worker may be busy
    with another run for hours.
    """

    silent: timedelta
    pending: timedelta
    waiting: timedelta


@dataclass(frozen=True)
class KnownRuns:
    """What a Prefect server knows of the runs, and what time it was there."""

    owners: list[Owner]
    now: datetime


@task(name="Ask which runs live", **ASKED)
def find_owners(
    flow: str, flow_run_ids: set[str], patiences: Patiences, *, dry_run: bool
) -> KnownRuns:
    """Return every living run of the flow, and what is known of the runs that were named.

    A run that says it runs, but whose heartbeats stopped longer ago than ``silent``, is dead: it
    is marked Crashed. A crashed run that still has orphans is taken up again where that can be.
    One that a worker claimed longer ago than ``pending`` and nobody began is offered again. Nothing
    of this happens in a dry run. A run that nobody has claimed within ``waiting`` of its time is
    not counted as living. A run that cannot be judged is.
    """
    with get_client(sync_client=True) as client:
        found = {run.id: run for run in _living(client, flow) + _named(client, flow_run_ids)}
        judge = _Judge(client, patiences, server_time(client), dry_run=dry_run)
        owners = [judge.judged(run, str(run.id) in flow_run_ids) for run in found.values()]
        return KnownRuns(owners, judge.now)


@dataclass(frozen=True)
class _Judge:
    """Decides which runs live, and, unless it is a dry run, sees that the others end or go on."""

    client: SyncPrefectClient
    patiences: Patiences
    now: datetime
    dry_run: bool

    def judged(self, run: FlowRun, owns: bool) -> Owner:
        """Return the run as an owner; what it ``owns`` is there to be removed."""
        try:
            return self._judged(run, owns)
        except (httpx.HTTPStatusError, PrefectException) as error:
            if isinstance(error, httpx.HTTPStatusError) and error.response.status_code >= 500:
                raise  # the server is in trouble: asked again, for all of them
            get_run_logger().error(
                "cannot tell whether run %s is alive, so it is left alone: %s", run.name, error
            )
            return _owner(run, run.start_time, alive=True)

    def _judged(self, run: FlowRun, owns: bool) -> Owner:
        if not self.dry_run:
            run = self._offered_again(run)
        silent = self._silence(run)
        if silent is not None:
            why = f"no heartbeat for {silent.total_seconds():.0f} s"
            get_run_logger().warning("run %s is dead: %s", run.name, why)
            run = run if self.dry_run else _bury(self.client, run, why)
        alive = silent is None and self._lives(run)
        if (owns or silent is not None) and not self.dry_run and not alive:
            run, alive = _decided(self.client, run)
        return _owner(run, self._wanted_since(run), alive=alive)

    def _wanted_since(self, run: FlowRun) -> datetime | None:
        """Return when the run first began, or was last begun again on purpose."""
        retries = retried_at(states_of(self.client, run.id)) if run.run_count else []
        return retries[-1] if retries else run.start_time

    def _offered_again(self, run: FlowRun) -> FlowRun:
        """Offer a run again that was claimed and not begun in time: its worker is gone.

        If it is only slow, two processes may begin the run; all but one step back
        (``flows/lifecycle/single_owner.py``). Not forced: a run that has ended meanwhile stays as
        it is.
        """
        if run.state is None or not run.state.is_pending() or run.deployment_id is None:
            return run
        if self.now - run.state.timestamp < self.patiences.pending:
            return run
        seconds = self.patiences.pending.total_seconds()
        why = f"Claimed by a worker and not begun within {seconds:.0f} s"
        self.client.set_flow_run_state(run.id, AwaitingRetry(message=f"{why}; offered again."))
        get_run_logger().warning("run %s is offered again: %s", run.name, why)
        return self.client.read_flow_run(run.id)

    def _lives(self, run: FlowRun) -> bool:
        if run.state is None or run.state.is_final():
            return False
        if not run.state.is_scheduled() or run.state.is_paused():
            return True
        due = run.next_scheduled_start_time or run.expected_start_time
        return due is None or self.now - due < self.patiences.waiting

    def _silence(self, run: FlowRun) -> timedelta | None:
        """Return how long a run has been silent that says it runs and once sent heartbeats.

        None where that is not too long. Counted from when the server received the last one: the
        worker's clock may be wrong.
        """
        if run.state is None or not (run.state.is_running() or run.state.is_cancelling()):
            return None
        beats = self._heartbeats(run)
        if not beats:
            return None
        begun = run.state.timestamp  # a run taken up again has heartbeats of its earlier attempt
        silent = self.now - max(beats[0], begun)
        return silent if silent > max(self.patiences.silent, least_silence(beats)) else None

    def _heartbeats(self, run: FlowRun) -> list[datetime]:
        """Return when the server received the run's last heartbeats, newest first."""
        from prefect.events.filters import EventFilter

        wanted = EventFilter.model_validate(
            {
                # The worker's clock wrote when they occurred: one ahead has them in the future.
                "occurred": {
                    "since": self.now - timedelta(days=6),
                    "until": self.now + timedelta(days=1),
                },
                "event": {"name": [HEARTBEAT]},
                "resource": {"id": [f"prefect.flow-run.{run.id}"]},
                "order": "DESC",
            }
        )
        found = self.client.read_events(wanted, limit=50).events
        return sorted((one.received for one in found), reverse=True)


def least_silence(beats: list[datetime]) -> timedelta:
    """Return the silence that says nothing yet: a heartbeat and a half, as this run sends them.

    ``beats`` are newest first. Some come late, so the shortest of the last pauses is the run's own.
    """
    pauses = [later - earlier for later, earlier in pairwise(beats[:5])]
    return 1.5 * min(pauses, default=timedelta(0))


def _decided(client: SyncPrefectClient, run: FlowRun) -> tuple[FlowRun, bool]:
    """Take a dead run up again, or, where nobody did that in time, see that nobody does later."""
    if run.state is not None and run.state.is_scheduled():
        why = "Nobody took the run up in time; its orphans are removed."
        client.set_flow_run_state(run.id, Crashed(message=why), force=True)
        return client.read_flow_run(run.id), False
    taken_up = take_up(client, run.id)
    if taken_up:
        get_run_logger().warning("run %s is taken up again", run.name)
    return client.read_flow_run(run.id), taken_up


def _living(client: SyncPrefectClient, flow: str) -> list[FlowRun]:
    return _in_states(client, flow, "SCHEDULED", "PENDING", "RUNNING", "CANCELLING", "PAUSED")


def _in_states(client: SyncPrefectClient, flow: str, *states: str) -> list[FlowRun]:
    from prefect.client.schemas.filters import FlowFilter, FlowFilterName, FlowRunFilter
    from prefect.client.schemas.objects import StateType

    return _paged(
        client,
        flow_filter=FlowFilter(name=FlowFilterName(any_=[flow])),
        flow_run_filter=FlowRunFilter.model_validate(
            {"state": {"type": {"any_": [StateType(one) for one in states]}}}
        ),
    )


def _named(client: SyncPrefectClient, flow_run_ids: Iterable[str]) -> list[FlowRun]:
    from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterId

    known = [found for one in sorted(flow_run_ids) if (found := _as_id(one)) is not None]
    runs: list[FlowRun] = []
    for start in range(0, len(known), 100):
        some = FlowRunFilterId(any_=known[start : start + 100])
        runs += _paged(client, flow_run_filter=FlowRunFilter(id=some))
    return runs


def _as_id(text: str) -> UUID | None:
    try:
        return UUID(text)
    except ValueError:  # a tag that somebody else wrote: no run of Prefect's
        return None


def _paged(client: SyncPrefectClient, **filters: Any) -> list[FlowRun]:
    runs: list[FlowRun] = []
    while True:
        page = client.read_flow_runs(**filters, limit=100, offset=len(runs))
        runs += page
        if len(page) < 100:
            return runs


def _bury(client: SyncPrefectClient, run: FlowRun, why: str) -> FlowRun:
    message = f"The run's process is gone: {why}."
    wanted = run.state is not None and not run.state.is_cancelling()
    state: State[Any] = Crashed(message=message) if wanted else Cancelled(message=message)
    client.set_flow_run_state(run.id, state)  # not forced: one that has ended meanwhile stays so
    return client.read_flow_run(run.id)


def _owner(run: FlowRun, since: datetime | None, *, alive: bool) -> Owner:
    parameters = read_parameters(run)
    minutes = parameters.deadlines.total_minutes
    begun = since or run.expected_start_time
    return Owner(
        flow_run_id=str(run.id),
        name=run.name,
        state=run.state.name if run.state and run.state.name else "unknown",
        alive=alive,
        key=run_key(str(run.id), parameters.key),
        wanted_until=begun + timedelta(minutes=minutes) if begun else None,
    )


def state_at(client: SyncPrefectClient, flow_run_id: UUID) -> State[Any] | None:
    """Return a run's state as the server knows it; None where the server does not answer."""
    try:
        return client.read_flow_run(flow_run_id).state
    except (httpx.HTTPError, PrefectException):
        return None


def is_cancelled(flow_run_id: UUID) -> bool:
    """Return whether the server knows that the run is to end, or has ended, as cancelled."""
    with get_client(sync_client=True) as client:
        return ends_as_cancelled(state_at(client, flow_run_id))


def ends_as_cancelled(state: State[Any] | None) -> bool:
    """Return whether a run in this state is to end, or has ended, as cancelled."""
    return state is not None and (state.is_cancelling() or state.is_cancelled())


def read_parameters(run: FlowRun) -> FineTune:
    """Return the run's parameter; the defaults where the server holds none that can be read."""
    try:
        return FineTune.model_validate(run.parameters.get("run") or {})
    except ValidationError:  # of an older version of this project
        return FineTune()


#: Under which key a suspended run with a budget leaves its plan at Prefect's server.
PLAN_INPUT = "fine-tune-plan"


@task(name="Ask which runs are suspended", **ASKED)
def find_suspended(flow: str) -> list[SuspendedRun]:
    """Return the flow's runs that wait for their job without a process."""
    with get_client(sync_client=True) as client:
        runs = _in_states(client, flow, "PAUSED")
        return [
            _suspended(client, run)
            for run in runs
            if run.state and run.state.name == "Suspended" and not _question(run)
        ]


def _question(run: FlowRun) -> datetime | None:
    """Return until when a run waits for somebody's answer; None where it does not."""
    details = run.state.state_details if run.state else None
    if details is None or not details.run_input_keyset or details.pause_timeout is None:
        return None
    until: datetime = details.pause_timeout
    return until - GRACE


@task(name="Answer what nobody has answered", **ASKED)
def refuse_unanswered(flow: str, now: datetime, answer: dict[str, str]) -> list[str]:
    """Give the runs of a flow whose question is too old this answer; return their names."""
    names = []
    with get_client(sync_client=True) as client:
        for run in _in_states(client, flow, "PAUSED"):
            until = _question(run)
            if until is not None and now >= until:
                told = client.resume_flow_run(run.id, run_input=answer)
                names += [run.name] if told.status == SetStateStatus.ACCEPT else []
    return names


def _suspended(client: SyncPrefectClient, run: FlowRun) -> SuspendedRun:
    until = run.state.state_details.pause_timeout if run.state else None
    parameters = read_parameters(run)
    return SuspendedRun(
        flow_run_id=str(run.id),
        name=run.name,
        job=job_name(run_key(str(run.id), parameters.key)),
        since=run.start_time or run.created or datetime.now(UTC),
        wake=until - GRACE if until else None,
        training=timedelta(minutes=parameters.deadlines.training_minutes),
        plan=_left_plan(client, run) if parameters.limit is not None else None,
    )


def _left_plan(client: SyncPrefectClient, run: FlowRun) -> Plan | None:
    try:
        return Plan.model_validate_json(client.read_flow_run_input(run.id, PLAN_INPUT))
    except (httpx.HTTPStatusError, ValidationError) as error:
        get_run_logger().warning(
            "the budget of %s is checked only at the time that the run estimated: %s",
            run.name,
            error,
        )
        return None


@task(name="Resume what waited", cache_policy=NO_CACHE, persist_result=False)
def resume_runs(runs: list[SuspendedRun]) -> list[str]:
    """Resume these runs, each by itself; return the names of those that were still suspended."""
    resumed = []
    with get_client(sync_client=True) as client:
        for one in runs:
            try:
                answer = client.resume_flow_run(UUID(one.flow_run_id))
            except (httpx.HTTPError, PrefectException) as error:
                get_run_logger().error("run %s could not be resumed: %s", one.name, error)
            else:
                resumed += [one.name] if answer.status == SetStateStatus.ACCEPT else []
    return resumed


def take_up(client: SyncPrefectClient, flow_run_id: UUID) -> bool:
    """Schedule a crashed run again, so that its next attempt adopts what the last one made.

    Returns False, and changes nothing, where nobody would run it: it has no deployment, nobody
    serves that, or it has been begun ``MOST_ATTEMPTS`` times since it was last retried.
    """
    try:
        run = client.read_flow_run(flow_run_id)
        if run.state is None or not run.state.is_crashed():
            return False
        begun = times_begun(states_of(client, flow_run_id))
        if run.deployment_id is None or begun >= MOST_ATTEMPTS:
            return False
        deployment = client.read_deployment(run.deployment_id)
    except ObjectNotFound:
        return False
    if str(getattr(deployment.status, "value", deployment.status)) != "READY":
        return False
    state: State[Any] = AwaitingRetry(
        message=f"Taken up again after a crash (begun {begun} of {MOST_ATTEMPTS} times)."
    )
    client.set_flow_run_state(flow_run_id, state, force=True)
    return True
