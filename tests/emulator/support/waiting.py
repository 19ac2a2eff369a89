"""Waiting for real processes to get somewhere."""

import asyncio
import time
from collections.abc import Callable, Iterator
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
    for _ in _tries(what):
        if answer := true():
            return answer
        pause()
    raise AssertionError  # pragma: no cover  # the last try has raised


async def reached(true: Callable[[], T], what: str) -> T:
    """The same, while the event loop goes on."""
    for _ in _tries(what):
        if answer := true():
            return answer
        await asyncio.sleep(PAUSE_S)
    raise AssertionError  # pragma: no cover


def _tries(what: str) -> Iterator[None]:
    deadline = time.monotonic() + PATIENCE_S
    while time.monotonic() < deadline:
        yield
    raise AssertionError(f"not within {PATIENCE_S:g} s: {what}")
