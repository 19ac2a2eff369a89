"""Which runs live, which are taken up again and by whom, on a real Prefect server."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest
from prefect import flow
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.states import (
    AwaitingRetry,
    Cancelled,
    Completed,
    Crashed,
    Pending,
    Running,
    Scheduled,
    State,
)

from finetuning.azure.naming import run_key
from finetuning.azure.ownership import Owner
from finetuning.form.run import FineTune
from flows.lifecycle.runs import (
    MOST_ATTEMPTS,
    KnownRuns,
    Patiences,
    find_owners,
    read_parameters,
    take_up,
)

QUARTER = timedelta(minutes=15)


@flow(name="of-test-runs")
def ours(run: dict[str, Any] | None = None) -> None:
    """Stand-in for a fine-tune: only its runs' states count here."""


@pytest.fixture
def client(prefect_server: None) -> Iterator[SyncPrefectClient]:
    with get_client(sync_client=True) as found:
        yield found


def run_in(client: SyncPrefectClient, *states: State[Any], **parameters: Any) -> UUID:
    """A run without a deployment that has been through these states."""
    run = client.create_flow_run(ours, parameters={"run": parameters})
    for state in states:
        client.set_flow_run_state(run.id, state, force=True)
    return run.id


def served_run(client: SyncPrefectClient, *states: State[Any], ready: bool = True) -> UUID:
    """A run of a deployment that somebody serves, or nobody."""
    deployment = client.create_deployment(client.create_flow(ours), f"d-{uuid.uuid4().hex[:8]}")
    if ready:  # a runner says so by asking for the deployment's runs
        now = datetime.now(UTC)
        client.get_scheduled_flow_runs_for_deployments([deployment], scheduled_before=now)
    run = client.create_flow_run_from_deployment(deployment)
    for state in states:
        client.set_flow_run_state(run.id, state, force=True)
    return run.id


def state_of(client: SyncPrefectClient, run: UUID) -> str | None:
    return client.read_flow_run(run).state_name


def owners(*named: UUID, dry_run: bool = False, pending: timedelta = QUARTER) -> dict[str, Owner]:
    @flow
    def asking() -> KnownRuns:
        patiences = Patiences(silent=QUARTER, pending=pending, waiting=QUARTER)
        names = {str(run) for run in named}
        return find_owners("of-test-runs", names, patiences, dry_run=dry_run)

    return {owner.flow_run_id: owner for owner in asking().owners}


def test_a_crashed_run_that_somebody_serves_is_taken_up(client: SyncPrefectClient) -> None:
    run = served_run(client, Running(), Crashed())

    assert take_up(client, run)
    assert state_of(client, run) == "AwaitingRetry"


def test_a_crashed_run_that_nobody_serves_stays_crashed(client: SyncPrefectClient) -> None:
    run = served_run(client, Running(), Crashed(), ready=False)

    assert not take_up(client, run)
    assert state_of(client, run) == "Crashed"


@pytest.mark.parametrize("state", [Running, Completed, Cancelled, Pending])
def test_only_a_crashed_run_is_taken_up(client: SyncPrefectClient, state: Any) -> None:
    run = served_run(client, Running(), state())

    assert not take_up(client, run)


def test_a_crashed_run_without_a_deployment_is_not_taken_up(client: SyncPrefectClient) -> None:
    assert not take_up(client, run_in(client, Running(), Crashed()))


def test_a_run_that_the_server_does_not_know_is_not_taken_up(client: SyncPrefectClient) -> None:
    assert not take_up(client, uuid.uuid4())


def test_a_run_is_taken_up_only_so_often(client: SyncPrefectClient) -> None:
    again = [Running(), Crashed()] * MOST_ATTEMPTS
    run = served_run(client, *again)

    assert client.read_flow_run(run).run_count == MOST_ATTEMPTS
    assert not take_up(client, run)


def test_every_living_run_is_an_owner_and_the_ended_only_where_they_are_named(
    client: SyncPrefectClient,
) -> None:
    alive, ended, named = (
        run_in(client, Running()), run_in(client, Completed()), run_in(client, Cancelled()),
    )  # fmt: skip

    found = owners(named)

    assert found[str(alive)].alive
    assert not found[str(named)].alive and found[str(named)].state == "Cancelled"
    assert str(ended) not in found


def test_an_owner_has_the_key_and_the_deadlines_of_its_own_parameters(
    client: SyncPrefectClient,
) -> None:
    deadlines = {"training_minutes": 60, "deletion_minutes": 5}
    run = run_in(client, Running(), key="weekly", deadlines=deadlines)

    owner = owners()[str(run)]

    begun = client.read_flow_run(run).start_time
    minutes = FineTune.model_validate({"deadlines": deadlines}).deadlines.total_minutes
    assert owner.key == run_key("", "weekly")
    assert begun is not None and owner.wanted_until == begun + timedelta(minutes=minutes)


def test_a_run_that_nobody_claims_in_time_does_not_live(client: SyncPrefectClient) -> None:
    long_ago, soon = datetime.now(UTC) - timedelta(hours=1), datetime.now(UTC) + QUARTER
    forgotten = run_in(client, Scheduled(scheduled_time=long_ago))
    waiting = run_in(client, Scheduled(scheduled_time=soon))

    found = owners()

    assert not found[str(forgotten)].alive
    assert found[str(waiting)].alive


def test_a_crashed_run_that_owns_something_is_taken_up_but_not_in_a_dry_run(
    client: SyncPrefectClient,
) -> None:
    run = served_run(client, Running(), Crashed())

    assert not owners(run, dry_run=True)[str(run)].alive
    assert state_of(client, run) == "Crashed"
    assert owners(run)[str(run)].alive
    assert state_of(client, run) == "AwaitingRetry"


def test_a_run_that_nobody_took_up_again_in_time_is_over(client: SyncPrefectClient) -> None:
    long_ago = datetime.now(UTC) - timedelta(hours=1)
    run = served_run(client, Running(), Crashed(), AwaitingRetry(scheduled_time=long_ago))

    assert not owners(run)[str(run)].alive
    assert state_of(client, run) == "Crashed"


def test_a_claimed_run_is_offered_again_only_after_its_time(client: SyncPrefectClient) -> None:
    run = served_run(client, Pending())

    owners()
    assert state_of(client, run) == "Pending"
    owners(pending=timedelta(0), dry_run=True)
    assert state_of(client, run) == "Pending"
    owners(pending=timedelta(0))
    assert state_of(client, run) == "AwaitingRetry"


def test_names_that_are_no_runs_of_prefects_are_nobody(client: SyncPrefectClient) -> None:
    @flow
    def asking() -> KnownRuns:
        foreign = {"somebody's tag", str(uuid.uuid4())}
        return find_owners("of-nobody", foreign, Patiences(QUARTER, QUARTER, QUARTER), dry_run=True)

    assert asking().owners == []


def test_parameters_of_another_version_are_the_defaults(client: SyncPrefectClient) -> None:
    run = client.read_flow_run(run_in(client, Running(), no_such_field=1))

    assert read_parameters(run) == FineTune()
