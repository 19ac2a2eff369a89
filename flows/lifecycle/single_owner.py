"""A run belongs to one process: another one that begins it, or is late to notice, steps back.

Prefect lets one worker at a time claim a run, and does not stop two processes from running it. One
that was claimed and is slow to begin is offered again, and both claimants may begin it; one whose
heartbeats were lost on the way is taken up again although it lives. Both processes would adopt the
same job, and the first to end would delete the endpoint under the other's hands. The run's own
own history says whose it is: each time it is offered, the process's that begins it first.

The same look shows a run that was suspended by hand and then cancelled. Prefect takes it to have no
process any more, and calls it Cancelled at once; its process, if it is still there, stops itself.
"""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Sequence
from typing import Any
from uuid import UUID

from prefect import Flow, State
from prefect.client.orchestration import get_client
from prefect.client.schemas.objects import FlowRun
from prefect.exceptions import Abort
from prefect.logging.loggers import flow_run_logger

from flows.lifecycle.cancellation import stop_as_cancelled
from flows.lifecycle.history import read_history

#: Seconds between two looks at who owns the run.
LOOK_EVERY_S = 15.0


#: The states by which this process began a run; a retry within the process adds one.
_begun_here: set[UUID] = set()


def owning_state(history: Sequence[State[Any]]) -> UUID | None:
    """Return the id of the state by which the run's owner began it; ``history`` is oldest first."""
    owner: UUID | None = None
    offered = True
    for state in history:
        if state.is_running() and offered:
            owner, offered = state.id, False
        elif state.is_scheduled() or state.is_pending() or state.is_paused():
            offered = True
    return owner


def step_back_if_begun_elsewhere(
    flow: Flow[..., Any], flow_run: FlowRun, state: State[Any]
) -> None:
    """Hook: before the body begins, end this process where another one has begun the run.

    Raises:
        Abort: Prefect's signal to a process that a run is not its own.
    """
    if flow_run.deployment_id is None:  # nobody offers it to a second process
        return
    _begun_here.add(state.id)
    history = read_history(flow_run.id)
    if not _is_anothers(history):
        watch = threading.Thread(
            target=_watch, args=(flow, flow_run, threading.Event()), daemon=True
        )
        watch.start()
        return
    said = "Another process has begun this run; this one steps back."
    flow_run_logger(flow_run, flow).warning(said)
    _put_back(flow_run.id, history, state.id)
    raise Abort(said)


def _watch(flow: Flow[..., Any], flow_run: FlowRun, never: threading.Event) -> None:
    while not never.wait(LOOK_EVERY_S):
        history = read_history(flow_run.id)
        if history and history[-1].is_cancelled():
            stop_as_cancelled(flow_run.id)
            return
        if _is_anothers(history):
            log = flow_run_logger(flow_run, flow)
            log.warning(
                "The run was taken up by another process; this one ends without cleaning up."
            )
            _leave()


def _is_anothers(history: Sequence[State[Any]]) -> bool:
    owner = owning_state(history)
    return owner is not None and owner not in _begun_here


def _put_back(flow_run_id: UUID, history: Sequence[State[Any]], mine: UUID) -> None:
    """Give a run that had ended its end back: Prefect let this process begin it once more."""
    before = [state for state in history if state.id != mine]
    if before and before[-1].is_final():
        with get_client(sync_client=True) as client:
            client.set_flow_run_state(flow_run_id, before[-1], force=True)


def _leave() -> None:
    """End the process at once: an exception would pass the flow's own cleaning up on its way."""
    logging.shutdown()
    os._exit(0)
