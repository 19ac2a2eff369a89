"""What a run's states say: whether it was begun again on purpose, and how often it has begun."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import pytest
from prefect.client.orchestration import get_client
from prefect.settings import PREFECT_API_URL, PREFECT_CLIENT_MAX_RETRIES, temporary_settings
from prefect.states import (
    AwaitingRetry,
    Cancelled,
    Cancelling,
    Completed,
    Crashed,
    Failed,
    Late,
    Pending,
    Running,
    Scheduled,
    State,
    Suspended,
)

from flows.lifecycle.history import (
    has_begun_before,
    read_history,
    retried_at,
    states_of,
    times_begun,
)
from tests.flows.lifecycle.test_runs import served_run

MIDNIGHT = datetime(2026, 3, 1, tzinfo=UTC)


def history(*states: State[Any]) -> list[State[Any]]:
    """These states, a minute apart."""
    return [
        state.model_copy(update={"timestamp": MIDNIGHT + timedelta(minutes=minute)})
        for minute, state in enumerate(states)
    ]


def began() -> list[State[Any]]:
    return [Scheduled(), Pending(), Running()]


@pytest.mark.parametrize("end", [Failed(), Cancelled(), Completed()])
def test_a_run_that_is_scheduled_after_its_end_is_retried(end: State[Any]) -> None:
    found = history(*began(), end, AwaitingRetry(), Pending(), Running())

    assert retried_at(found) == [MIDNIGHT + timedelta(minutes=4)]
    assert times_begun(found) == 1


def test_a_flow_that_repeats_itself_is_retried() -> None:
    error = "Flow run encountered an exception: JobFailed: Job 'fine-tune-1' failed"

    assert len(retried_at(history(*began(), AwaitingRetry(message=error), Running()))) == 1


@pytest.mark.parametrize(
    "between",
    [
        [Crashed(), AwaitingRetry(message="Taken up again after a crash")],  # by our own hook
        [Crashed(), AwaitingRetry()],  # an eviction that was seen before it rescheduled the run
        [AwaitingRetry()],  # an eviction
        [Suspended(), Scheduled(name="Resuming")],
        [Crashed(), AwaitingRetry(), Late()],
    ],
)
def test_a_run_that_is_restarted_is_not_retried(between: list[State[Any]]) -> None:
    found = history(*began(), *between, Pending(), Running())

    assert retried_at(found) == []
    assert has_begun_before(found)


def test_what_never_began_is_not_retried() -> None:
    assert retried_at(history(Scheduled(), Cancelled(), Scheduled(), Pending(), Running())) == []
    assert retried_at(history(Pending(), AwaitingRetry(message="offered again"), Pending())) == []
    assert retried_at([]) == []


def test_a_retry_that_is_late_or_crashes_is_one_retry() -> None:
    late = [Failed(), AwaitingRetry(), Late(), Pending(), Running()]
    found = history(*began(), *late, Crashed(), AwaitingRetry(), Pending(), Running())

    assert len(retried_at(found)) == 1
    assert times_begun(found) == 2


def test_each_retry_counts() -> None:
    again = [Failed(), AwaitingRetry(), Pending(), Running()]
    cancelled = [Cancelling(), Cancelled(), AwaitingRetry(), Pending(), Running()]

    assert len(retried_at(history(*began(), *again, *again, *cancelled))) == 3


def test_a_resumption_is_no_beginning_but_something_was_begun_before() -> None:
    found = history(*began(), Suspended(), Scheduled(name="Resuming"), Pending(), Running())

    assert times_begun(found) == 1
    assert has_begun_before(found)
    assert not has_begun_before(history(*began()))


def test_the_server_keeps_a_runs_history(prefect_server: None) -> None:
    with get_client(sync_client=True) as client:
        run = served_run(client, Running(), Failed(), AwaitingRetry(), Running())

        assert len(retried_at(states_of(client, run))) == 1
        assert [state.id for state in read_history(run)] == [
            state.id for state in states_of(client, run)
        ]


def test_a_server_that_does_not_answer_tells_of_no_retry() -> None:
    nobody = {PREFECT_API_URL: "http://127.0.0.1:9/api", PREFECT_CLIENT_MAX_RETRIES: 0}
    with temporary_settings(nobody):
        found = read_history(uuid4())

    assert found == []
    assert retried_at(found) == [] and not has_begun_before(found)
