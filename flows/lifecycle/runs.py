"""Flow runs as Prefect knows them: which live, which fell silent, and taking one up again."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any
from uuid import UUID

from prefect import get_run_logger, task
from prefect.cache_policies import NO_CACHE
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.responses import SetStateStatus
from prefect.exceptions import ObjectNotFound
from prefect.settings import get_current_settings
from prefect.states import AwaitingRetry, Cancelled, Crashed
from pydantic import BaseModel, ConfigDict, ValidationError

from finetuning.azure.naming import job_name, run_key
from finetuning.azure.ownership import Owner
from finetuning.form.run import FineTune
from tasks.step import REPEATED

if TYPE_CHECKING:
    from prefect.client.schemas.objects import FlowRun, State


#: How often a run is begun in all before its leftovers are removed instead.
MOST_ATTEMPTS = 3


HEARTBEAT = "prefect.flow-run.heartbeat"


#: A suspended run is resumed by the poller this long before Prefect's server would fail it.
GRACE = timedelta(minutes=15)


#: How a task asks Prefect's server: again while it does not answer.
ASKED: dict[str, Any] = {"cache_policy": NO_CACHE, **REPEATED}


@task(name="Ask which runs live", **ASKED)
def find_owners(
    flow: str, flow_run_ids: set[str], silent: timedelta, pending: timedelta, *, dry_run: bool
) -> list[Owner]:
    """Return every living run of the flow, and what is known of the runs that were named.

    A run that says it runs, but whose heartbeats stopped longer ago than ``silent``, is dead: it
    is marked Crashed. A crashed run that still has leftovers is taken up again where that can be.
    One that a worker claimed longer ago than ``pending`` and nobody began is offered again. Nothing
    of this happens in a dry run. A run that nobody has claimed within ``silent`` of its time is not
    counted as living.
    """
    with get_client(sync_client=True) as client:
        found = {run.id: run for run in _living(client, flow) + _named(client, flow_run_ids)}
        runs = list(found.values())
        if not dry_run:
            runs = [_offered_again(client, run, pending) for run in runs]
        return [_judged(client, run, silent, str(run.id) in flow_run_ids, dry_run) for run in runs]


def _judged(
    client: SyncPrefectClient, run: FlowRun, silent: timedelta, owns: bool, dry_run: bool
) -> Owner:
    dead = _fell_silent(client, run, silent)
    if dead:
        why = f"no heartbeat for {silent.total_seconds():.0f} s"
        get_run_logger().warning("run %s is dead: %s", run.name, why)
        run = run if dry_run else _bury(client, run, why)
    alive = not dead and _lives(run, silent)
    if (owns or dead) and not dry_run and not alive:
        run, alive = _decided(client, run)
    return _owner(run, alive=alive)


def _offered_again(client: SyncPrefectClient, run: FlowRun, pending: timedelta) -> FlowRun:
    """Offer a run again that was claimed and not begun in time: its worker is gone.

    If it is only slow, two processes may begin the run; all but one step back
    (``flows/one_process.py``). Not forced: a run that has ended meanwhile stays as it is.
    """
    if run.state is None or not run.state.is_pending() or run.deployment_id is None:
        return run
    if datetime.now(UTC) - run.state.timestamp < pending:
        return run
    why = f"Claimed by a worker and not begun within {pending.total_seconds():.0f} s"
    client.set_flow_run_state(run.id, AwaitingRetry(message=f"{why}; offered again."))
    get_run_logger().warning("run %s is offered again: %s", run.name, why)
    return client.read_flow_run(run.id)


def _decided(client: SyncPrefectClient, run: FlowRun) -> tuple[FlowRun, bool]:
    """Take a dead run up again, or, where nobody did that in time, see that nobody does later."""
    if run.state is not None and run.state.name == "AwaitingRetry":
        why = "Nobody took the run up again in time; its leftovers are removed."
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


def _lives(run: FlowRun, silent: timedelta) -> bool:
    if run.state is None or run.state.is_final():
        return False
    if not run.state.is_scheduled() or run.state.is_paused():
        return True
    due = run.next_scheduled_start_time or run.expected_start_time
    return due is None or datetime.now(UTC) - due < silent


def _fell_silent(client: SyncPrefectClient, run: FlowRun, silent: timedelta) -> bool:
    """Tell whether the run says that it runs, once sent heartbeats, and no longer does."""
    from prefect.events.filters import EventFilter

    if run.state is None or not (run.state.is_running() or run.state.is_cancelling()):
        return False
    now = datetime.now(UTC)
    begun = run.state.timestamp  # a run taken up again has heartbeats of its earlier attempt
    beats = EventFilter.model_validate(
        {
            "occurred": {"since": now - timedelta(days=6), "until": now},
            "event": {"name": [HEARTBEAT]},
            "resource": {"id": [f"prefect.flow-run.{run.id}"]},
            "order": "DESC",
        }
    )
    found = client.read_events(beats, limit=1).events
    return bool(found) and now - max(found[0].occurred, begun) > max(silent, _least_silence())


def _least_silence() -> timedelta:
    """Return the silence that says nothing yet: a heartbeat and a half, as they are set here."""
    frequency = get_current_settings().flows.heartbeat_frequency or 0
    return timedelta(seconds=1.5 * frequency)


def _bury(client: SyncPrefectClient, run: FlowRun, why: str) -> FlowRun:
    message = f"The run's process is gone: {why}."
    wanted = run.state is not None and not run.state.is_cancelling()
    state: State[Any] = Crashed(message=message) if wanted else Cancelled(message=message)
    client.set_flow_run_state(run.id, state)  # not forced: one that has ended meanwhile stays so
    return client.read_flow_run(run.id)


def _owner(run: FlowRun, *, alive: bool) -> Owner:
    parameters = read_parameters(run)
    minutes = parameters.deadlines.total_minutes
    if parameters.endpoint.keep:
        minutes += parameters.endpoint.keep_hours * 60
    begun = run.start_time or run.expected_start_time
    return Owner(
        flow_run_id=str(run.id),
        name=run.name,
        state=run.state.name if run.state and run.state.name else "unknown",
        alive=alive,
        key=run_key(str(run.id), parameters.key),
        wanted_until=begun + timedelta(minutes=minutes) if begun else None,
    )


def read_parameters(run: FlowRun) -> FineTune:
    """Return the run's parameter; the defaults where the server holds none that can be read."""
    try:
        return FineTune.model_validate(run.parameters.get("run") or {})
    except ValidationError:  # of an older version of this project
        return FineTune()


class Waiting(BaseModel):
    """A suspended run, its job, and when it is resumed at the latest."""

    model_config = ConfigDict(frozen=True)

    flow_run_id: UUID
    name: str
    job: str
    since: datetime
    wake: datetime | None


@task(name="Ask which runs are suspended", **ASKED)
def find_suspended(flow: str) -> list[Waiting]:
    """Return the flow's runs that wait for their job without a process."""
    with get_client(sync_client=True) as client:
        runs = _in_states(client, flow, "PAUSED")
    return [_waiting(run) for run in runs if run.state and run.state.name == "Suspended"]


def _waiting(run: FlowRun) -> Waiting:
    until = run.state.state_details.pause_timeout if run.state else None
    now = datetime.now(UTC)
    return Waiting(
        flow_run_id=run.id,
        name=run.name,
        job=job_name(run_key(str(run.id), read_parameters(run).key)),
        since=run.start_time or run.created or now,
        wake=until - GRACE if until else None,
    )


@task(name="Resume what waited", cache_policy=NO_CACHE, persist_result=False)
def resume_runs(runs: list[Waiting]) -> list[str]:
    """Resume these runs; return the names of those that were still suspended."""
    with get_client(sync_client=True) as client:
        done = [(one.name, client.resume_flow_run(one.flow_run_id)) for one in runs]
    return [name for name, answer in done if answer.status == SetStateStatus.ACCEPT]


def take_up(client: SyncPrefectClient, flow_run_id: UUID) -> bool:
    """Schedule a crashed run again, so that its next attempt adopts what the last one made.

    Returns False, and changes nothing, where nobody would run it: it has no deployment, nobody
    serves that, or it has been begun ``MOST_ATTEMPTS`` times.
    """
    try:
        run = client.read_flow_run(flow_run_id)
        if run.state is None or not run.state.is_crashed():
            return False
        if run.deployment_id is None or run.run_count >= MOST_ATTEMPTS:
            return False
        deployment = client.read_deployment(run.deployment_id)
    except ObjectNotFound:
        return False
    if str(getattr(deployment.status, "value", deployment.status)) != "READY":
        return False
    state: State[Any] = AwaitingRetry(
        message=f"Taken up again after a crash ({run.run_count} of {MOST_ATTEMPTS} attempts)."
    )
    client.set_flow_run_state(flow_run_id, state, force=True)
    return True
