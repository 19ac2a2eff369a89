"""What the command ends with: the same for a run in this terminal and for one that is followed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from prefect import State

DONE, REFUSED, CANCELLED, INTERRUPTED = 0, 1, 3, 130


def of_state(state: State[Any] | None) -> int:
    """Return the exit code of a run that has ended, or of one that went to wait suspended."""
    if state is None:
        return REFUSED
    if state.is_completed() or state.is_paused():
        return DONE
    return CANCELLED if state.is_cancelled() else REFUSED
