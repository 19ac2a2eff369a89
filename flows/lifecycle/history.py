"""A run's own history at Prefect's server: how often it was begun, and whether on purpose.

A run begins again for two reasons. A restart (its process was killed, evicted, rescheduled or
resumed) goes on with what the run had begun. A retry begins it again on purpose, after it had
ended: by Prefect's Retry, or by the flow's own ``retries``. Only a retry may submit another job
where the last one did not complete, and Prefect's count of runs does not tell one from the other.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

import httpx
from prefect import State
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.exceptions import PrefectException


def read_history(flow_run_id: UUID) -> list[State[Any]]:
    """Return the run's states, oldest first; none where the server does not answer."""
    try:
        with get_client(sync_client=True) as client:
            return states_of(client, flow_run_id)
    except (httpx.HTTPError, PrefectException):
        return []


def states_of(client: SyncPrefectClient, flow_run_id: UUID) -> list[State[Any]]:
    """Return the run's states, oldest first."""
    return sorted(client.read_flow_run_states(flow_run_id), key=lambda state: state.timestamp)


def retried_at(history: Sequence[State[Any]]) -> list[datetime]:
    """Return when the run was begun again on purpose; ``history`` is oldest first.

    Scheduled after it had begun and then ended, other than by a crash: nobody takes such a run up
    again but a person. Or scheduled while it ran, with the error that the flow's own retry carries
    on (``RetryFailedFlows`` in Prefect's ``server/orchestration/core_policy.py``); an eviction
    schedules it without a word. After a crash it is a restart, whoever asks for it.
    """
    moments: list[datetime] = []
    begun, last = False, None
    for state in history:
        if state.is_scheduled() and begun and last is not None:
            ended = last.is_final() and not last.is_crashed()
            if ended or (last.is_running() and state.message):
                moments.append(state.timestamp)
        begun = begun or state.is_running()
        last = state
    return moments


def times_begun(history: Sequence[State[Any]]) -> int:
    """Return how often the run has begun since it was last retried; a resumption is no beginning.

    Prefect does not count a resumption either.
    """
    retries = retried_at(history)
    times, resumed = 0, False
    for state in history:
        if retries and state.timestamp < retries[-1]:
            continue
        if state.is_paused():
            resumed = True
        elif state.is_running():
            times += not resumed
            resumed = False
    return times


def has_begun_before(history: Sequence[State[Any]]) -> bool:
    """Return whether the run, which runs, has run before: also where it was only resumed."""
    return sum(state.is_running() for state in history) > 1
