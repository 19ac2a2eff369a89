"""Waiting for real processes to get somewhere."""

import asyncio
import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")

PATIENCE_S = 60.0  # far beyond what anything here takes, also on a loaded machine
PAUSE_S = 0.02


def _pause() -> None:
    time.sleep(PAUSE_S)


def until(
    true: Callable[[], T], what: str = "it has happened", pause: Callable[[], None] = _pause
) -> T:
    """The first answer that is true; ``pause`` is what happens between two questions."""
    deadline = time.monotonic() + PATIENCE_S
    while not (answer := true()):
        assert time.monotonic() < deadline, f"not within {PATIENCE_S:g} s: {what}"
        pause()
    return answer


async def reached(true: Callable[[], object], what: str) -> None:
    """Return when it is true; the event loop goes on meanwhile."""
    deadline = time.monotonic() + PATIENCE_S
    while not true():
        assert time.monotonic() < deadline, f"not within {PATIENCE_S:g} s: {what}"
        await asyncio.sleep(PAUSE_S)
