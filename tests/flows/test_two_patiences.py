"""How patient the reaper is, and who may be suspended: silence, waiting, and who wakes whom."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest
from prefect import flow
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.actions import DeploymentScheduleCreate
from prefect.client.schemas.objects import FlowRun
from prefect.client.schemas.schedules import CronSchedule
from prefect.events.actions import DoNothing
from prefect.flow_engine import run_flow
from prefect.states import AwaitingRetry, Suspended

from deployments.automations import Limits, automations
from finetuning.errors import SettingsError
from finetuning.form.run import FineTune, Waiting
from flows.fine_tune import fine_tune
from flows.lifecycle.runs import PLAN_INPUT, Patiences, find_suspended, least_silence
from flows.lifecycle.suspension import RESUMER, find_wakers, refuse_to_suspend_alone
from flows.resume import resume
from tests.conftest import RunningEmulator

pytestmark = pytest.mark.slow

PATIENT = Patiences(timedelta(minutes=10), timedelta(minutes=15), timedelta(hours=1))
NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)


def test_the_automations_tell_silence_and_waiting_apart() -> None:
    limits = Limits(silent=timedelta(minutes=3), waiting=timedelta(hours=2))
    made = automations(DoNothing(), uuid.uuid4(), limits)
    (silent,) = [one for one in made if one.name == "fine-tune: a run fell silent"]

    assert silent.actions[0].parameters == {
        "silent_minutes": 1.5,
        "pending_minutes": 15,
        "waiting_minutes": 120,
    }


def test_a_reaper_that_fails_is_told() -> None:
    made = automations(DoNothing(), uuid.uuid4(), Limits())
    (told,) = [one for one in made if one.name == "fine-tune: the reaper failed"]

    assert told.trigger.match_related["prefect.resource.name"] == ["reap"]
    assert told.actions == [DoNothing()]


@pytest.mark.parametrize(
    ("pauses", "expected"), [([], 0), ([180], 270), ([180, 181, 30_000], 270), ([30, 400], 45)]
)
def test_the_least_silence_is_a_heartbeat_and_a_half_of_the_runs_own(
    pauses: list[int], expected: float
) -> None:
    beats = [NOW]
    for pause in pauses:
        beats.append(beats[-1] - timedelta(seconds=pause))

    assert least_silence(beats) == timedelta(seconds=expected)


@flow(name="asks-for-a-waker")
def asks(waiting: Waiting = "suspended") -> None:
    refuse_to_suspend_alone(waiting)


@pytest.fixture
def client(stage: RunningEmulator) -> Iterator[SyncPrefectClient]:
    """A server on which nobody wakes anybody, whatever other tests installed."""
    with get_client(sync_client=True) as found:
        for one in found.read_automations_by_name(RESUMER):
            found.delete_automation(one.id)
        yield found


@contextmanager
def poller(client: SyncPrefectClient, *, active: bool, paused: bool = False) -> Iterator[None]:
    """A deployment of the poller, with its schedule."""
    hourly = DeploymentScheduleCreate(schedule=CronSchedule(cron="0 * * * *"), active=active)
    made = client.create_deployment(
        client.create_flow(resume),
        f"poller-{uuid.uuid4().hex[:8]}",
        schedules=[hourly],
        paused=paused,
    )
    yield
    client.delete_deployment(made)


def run_of_a_deployment(client: SyncPrefectClient) -> FlowRun:
    made = client.create_deployment(client.create_flow(asks), f"asks-{uuid.uuid4().hex[:8]}")
    return client.create_flow_run_from_deployment(made)


def begin(client: SyncPrefectClient, flow_run_id: UUID) -> None:
    found = client.read_flow_run(flow_run_id)
    run_flow(asks, flow_run=found, parameters={"waiting": "suspended"})


@pytest.mark.parametrize(("active", "paused"), [(False, False), (True, True)])
def test_a_run_that_nobody_would_wake_is_not_suspended(
    client: SyncPrefectClient, stage: RunningEmulator, active: bool, paused: bool
) -> None:
    before = stage.requests()[-1:]

    with (
        poller(client, active=active, paused=paused),
        pytest.raises(SettingsError, match=r"nobody would wake this run.*resume/every-2-minutes"),
    ):
        begin(client, run_of_a_deployment(client).id)

    assert stage.requests()[-1:] == before


def test_a_poller_that_is_on_wakes(client: SyncPrefectClient) -> None:
    with poller(client, active=True):
        begin(client, run_of_a_deployment(client).id)


def test_an_automation_that_is_on_wakes_and_one_that_is_off_does_not(
    client: SyncPrefectClient,
) -> None:
    made = automations(DoNothing(), uuid.uuid4(), Limits())
    (one,) = [each for each in made if each.name == RESUMER]
    installed = client.create_automation(one)

    begin(client, run_of_a_deployment(client).id)
    client.pause_automation(installed)
    with pytest.raises(SettingsError):
        begin(client, run_of_a_deployment(client).id)
    client.delete_automation(installed)


def test_a_run_that_begins_again_is_not_refused(client: SyncPrefectClient) -> None:
    run = run_of_a_deployment(client)
    with poller(client, active=True):
        begin(client, run.id)

    client.set_flow_run_state(run.id, AwaitingRetry(), force=True)
    begin(client, run.id)

    assert client.read_flow_run(run.id).run_count == 2


def suspended(client: SyncPrefectClient, run: FineTune, minutes: float = 60) -> FlowRun:
    """A suspended run that its own reckoning wakes in so many minutes."""
    made = client.create_deployment(client.create_flow(fine_tune), f"s-{uuid.uuid4().hex[:8]}")
    found = client.create_flow_run_from_deployment(
        made, parameters={"run": run.model_dump(mode="json")}
    )
    state = Suspended(timeout_seconds=int(minutes * 60))
    client.set_flow_run_state(found.id, state, force=True)
    return found


def test_a_left_plan_that_cannot_be_read_costs_no_other_run_its_poller(
    client: SyncPrefectClient,
) -> None:
    run = suspended(client, FineTune(budget=5, key=uuid.uuid4().hex))
    client.create_flow_run_input(run.id, PLAN_INPUT, json.dumps({"of": "another version"}))
    due = suspended(client, FineTune(key=uuid.uuid4().hex), minutes=1)

    resumed = resume()

    assert due.name in resumed and run.name not in resumed
    client.delete_flow_run(run.id)
    client.delete_flow_run(due.id)


def asked(name: str) -> Any:
    @flow
    def ask() -> Any:
        return find_suspended(name)

    return ask()


def test_a_list_of_jobs_that_is_refused_does_not_keep_a_run_from_its_deadline(
    client: SyncPrefectClient, stage: RunningEmulator
) -> None:
    due = suspended(client, FineTune(key=uuid.uuid4().hex), minutes=1)
    other = suspended(client, FineTune(key=uuid.uuid4().hex))
    stage.add_fault(kind="status", method="GET", path="/jobs", status=403, times=0)

    with pytest.raises(Exception, match="403"):
        resume()

    stage.clear_faults()
    state = client.read_flow_run(due.id).state
    assert state is not None and state.is_scheduled()
    assert [one.flow_run_id for one in asked("fine-tune")] == [str(other.id)]
    client.delete_flow_run(due.id)
    client.delete_flow_run(other.id)


def test_who_wakes_is_named(client: SyncPrefectClient) -> None:
    with poller(client, active=True):
        (name,) = find_wakers.fn()

    assert name.startswith("resume/poller-")
