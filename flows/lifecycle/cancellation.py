"""A run that nobody supervises is cancelled too.

A runner or worker stops the process of a run that is cancelled. A plain script has neither: Prefect
only writes the wish down. So such a run looks at its own state, and stops itself as a supervisor
would, by SIGTERM; it then ends Cancelled rather than Crashed, once it has cleaned up.
"""

from __future__ import annotations

import os
import signal
import threading
from typing import Any
from uuid import UUID

from prefect import Flow, State
from prefect.client.orchestration import get_client
from prefect.client.schemas.objects import FlowRun
from prefect.states import Cancelled

from flows.lifecycle.runs import ends_as_cancelled, state_at

#: Seconds between two looks at the run's own state.
LOOK_EVERY_S = 5.0


_stopped: set[UUID] = set()


def watch_for_cancellation(flow: Flow[..., Any], flow_run: FlowRun, state: State[Any]) -> None:
    """Hook: as the body begins, look after the run's own state if no supervisor does.

    A flow outside the main thread cannot be stopped by a signal, and is not watched.
    """
    supervised = os.environ.get("PREFECT__ENABLE_CANCELLATION_AND_CRASHED_HOOKS") == "false"
    if not supervised and threading.current_thread() is threading.main_thread():
        threading.Thread(target=_watch, args=(flow_run.id, threading.Event()), daemon=True).start()


def _watch(flow_run_id: UUID, never: threading.Event) -> None:
    with get_client(
        sync_client=True
    ) as client:  # the server of the beginning, whatever is set later
        while not never.wait(LOOK_EVERY_S):
            state = state_at(client, flow_run_id)
            if ends_as_cancelled(state):
                stop_as_cancelled(flow_run_id)
                return
            if state is not None and state.is_final():
                return


def stop_as_cancelled(flow_run_id: UUID) -> None:
    """Stop this process, unless it stops already: the run's guard then cleans up."""
    if flow_run_id not in _stopped:
        _stopped.add(flow_run_id)
        signal.raise_signal(signal.SIGTERM)


def stops_by_itself(flow_run_id: UUID) -> None:
    """Say that this process is ending a cancelled run: a signal would cut its clean-up short."""
    _stopped.add(flow_run_id)


def end_as_cancelled(flow: Flow[..., Any], flow_run: FlowRun, state: State[Any]) -> None:
    """Hook: a run that stopped itself because it was cancelled is Cancelled, not Crashed."""
    if flow_run.id in _stopped:
        with get_client(sync_client=True) as client:
            cancelled: State[Any] = Cancelled(
                message="Cancelled; the run stopped itself and cleaned up."
            )
            client.set_flow_run_state(flow_run.id, cancelled, force=True)
