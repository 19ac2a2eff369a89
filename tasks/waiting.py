"""Waiting: the one place that sleeps.

A wait needs only a question that can be asked again, so it resumes from a name alone; it has a
deadline, reports each change, and rides out a service that is away for a stated time.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TypeVar

from finetuning.errors import DeadlineExceeded, FineTuneError

T = TypeVar("T")


@dataclass(frozen=True)
class Patience:
    """How long to wait, how often to look, and how long the service may be away (seconds).

    ``spent`` is what of the deadline had passed before this wait began: a wait that another process
    takes over is not longer for it.
    """

    deadline: float
    interval: float
    outage: float
    parameter: str
    spent: float = 0.0
    now: Callable[[], float] = field(default=time.monotonic)
    sleep: Callable[[float], None] = field(default=time.sleep)


def wait_until(
    what: str, look: Callable[[], T], done: Callable[[T], bool], patience: Patience
) -> T:
    """Return the first thing that ``look`` sees of which ``done`` is true.

    Raises:
        DeadlineExceeded: it was not done in time; says which parameter to raise.
        FineTuneError: ``look`` failed for good, or transiently for longer than ``outage``.
    """
    last_seen = patience.now()
    started = last_seen - patience.spent
    while True:
        try:
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
