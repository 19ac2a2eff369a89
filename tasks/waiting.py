"""Waiting: the one place that sleeps.

A wait needs only a question that can be asked again, so it resumes from a name alone; it has a
deadline, reports each change, and rides out a service that is away for a stated time.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Literal, TypeVar

from finetuning.azure.service_errors import service_errors
from finetuning.errors import DeadlineExceeded, FineTuneError
from finetuning.form.run import Deadlines

if TYPE_CHECKING:
    from azure.core.polling import LROPoller

T = TypeVar("T")
#: Longest pause between two looks at what Azure makes or removes, in seconds.
BRISK = 10.0

Limit = Literal["compute_minutes", "training_minutes", "deployment_minutes", "deletion_minutes"]


@dataclass(frozen=True)
class Patience:
    """How long to wait, how often to look, and how long the service may be away (seconds).

    ``spent`` is what of the deadline had passed before this wait began: a wait that another process
    takes over is not longer for it. ``guard`` is called before every look and may raise to end the
    wait.
    """

    deadline: float
    interval: float
    outage: float
    parameter: str
    spent: float = 0.0
    guard: Callable[[], None] | None = None
    now: Callable[[], float] = field(default=time.monotonic)
    sleep: Callable[[float], None] = field(default=time.sleep)


def patience(deadlines: Deadlines, limit: Limit, *, interval: float = BRISK) -> Patience:
    """Return the patience for one of the run's deadlines; looks come at least each ``interval``."""
    return Patience(
        deadline=getattr(deadlines, limit) * 60,
        interval=min(deadlines.poll_seconds, interval),
        outage=deadlines.outage_minutes * 60,
        parameter=f"run.deadlines.{limit}",
    )


def wait_until(
    what: str, look: Callable[[], T], done: Callable[[T], bool], patience: Patience
) -> T:
    """Return the first thing that ``look`` sees of which ``done`` is true.

    What the SDK raises while looking is told in Azure's own words.

    Raises:
        DeadlineExceeded: it was not done in time; says which parameter to raise.
        FineTuneError: ``look`` failed for good, or transiently for longer than ``outage``.
    """
    last_seen = patience.now()
    started = last_seen - patience.spent
    while True:
        try:
            with service_errors(what):
                if patience.guard is not None:
                    patience.guard()
                seen = look()
        except FineTuneError as error:
            if not error.transient or patience.now() - last_seen > patience.outage:
                raise
        else:
            last_seen = patience.now()
            if done(seen):
                return seen
        left = started + patience.deadline - patience.now()
        if left <= 0:
            raise DeadlineExceeded(what, patience.deadline, patience.parameter)
        patience.sleep(min(patience.interval, left))


def wait_for_operation(what: str, operation: LROPoller[Any], patience: Patience) -> None:
    """Wait until a long-running operation has ended.

    An outage while it was polled is not its end: whoever needs the resource looks at it next.

    Raises:
        azure.core.exceptions.HttpResponseError: what the operation ended with, or why the service
            refused to tell.
        DeadlineExceeded: it has not ended in time.
    """
    from azure.core.exceptions import AzureError, HttpResponseError

    def pause(seconds: float) -> None:
        try:
            operation.wait(seconds)  # ends with the operation, which a thread of its own polls
        except AzureError:
            return  # it has ended, so it is done; raised below

    wait_until(what, operation.done, bool, replace(patience, sleep=pause))
    try:
        operation.wait()
    except HttpResponseError as error:
        if error.status_code is None or error.status_code < 500:
            raise
    except AzureError:
        return
