"""The emulator's time. Injected, so that a test turns it by hand."""

import asyncio
import time
from typing import Protocol


class Clock(Protocol):
    """What the emulator knows of time: unix seconds, and waiting."""

    def now(self) -> float: ...
    async def sleep(self, seconds: float) -> None: ...


class ScaledClock:
    """The machine's clock; waits are ``scale`` times as long (0.01: a minute in 0.6 s)."""

    def __init__(self, scale: float = 1.0) -> None:
        self.scale = scale

    def now(self) -> float:
        return time.time()

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds * self.scale)


class HandClock:
    """A clock that stands still until a test moves it."""

    def __init__(self, now: float = 1_700_000_000.0) -> None:
        self._now = now
        self._moved = asyncio.Condition()

    def now(self) -> float:
        return self._now

    async def sleep(self, seconds: float) -> None:
        until = self._now + seconds
        async with self._moved:
            await self._moved.wait_for(lambda: self._now >= until)

    async def move(self, seconds: float) -> None:
        """Let time pass, and let whoever waited go on."""
        async with self._moved:
            self._now += seconds
            self._moved.notify_all()
        await asyncio.sleep(0)
