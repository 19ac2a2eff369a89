"""Who holds which node of which compute.

A step waits here until its compute has a node to spare and the region has quota for it; a node that
was not running has to be started first, which takes the profile's time. An idle node stays up, and
holds its quota, until the cluster gives it back.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass

SERVERLESS = "serverless"
SERVERLESS_NODES = 8  # no cluster limits serverless steps on Azure, the machine we run on does


@dataclass
class Pool:
    """Nodes of one compute: ``busy`` run a step, ``idle`` are up and wait, the rest are off.

    ``short`` steps wait because the region's quota has no room for their node.
    """

    busy: int = 0
    idle: int = 0
    short: int = 0

    @property
    def up(self) -> int:
        """Nodes that are there, and so count against the quota."""
        return self.busy + self.idle


class Nodes:
    """Node accounting of all computes.

    ``limit`` tells how many nodes a compute may have now (its cluster may be rescaled any time);
    ``start_node`` returns when a node has come up; ``room`` tells whether the region's quota takes
    another node of a compute; ``idle_over`` returns when a compute gives an idle node back.
    """

    def __init__(
        self,
        limit: Callable[[str], int],
        start_node: Callable[[str], Awaitable[None]],
        room: Callable[[str], bool] = lambda _: True,
        idle_over: Callable[[str], Awaitable[None]] | None = None,
    ) -> None:
        self._limit = limit
        self._start_node = start_node
        self._room = room
        self._idle_over = idle_over
        self._pools: dict[str, Pool] = {}
        self._changed = asyncio.Condition()
        self._waiting: set[asyncio.Task[None]] = set()

    @asynccontextmanager
    async def hold(self, compute: str) -> AsyncIterator[None]:
        """Hold one node of the compute; waits while all are busy, or the quota has no room."""
        pool = self.pool(compute)
        async with self._changed:
            await self._until_free(compute, pool)
            pool.busy += 1
            warm = pool.idle > 0
            pool.idle -= warm
        try:
            if not warm:
                await self._start_node(compute)
            yield
        finally:
            await self._give_back(compute, pool)

    async def _until_free(self, compute: str, pool: Pool) -> None:
        await self._changed.wait_for(lambda: pool.busy < self._allowed(compute))
        if pool.idle or self._room(compute):
            return
        pool.short += 1
        try:
            await self._changed.wait_for(
                lambda: (
                    pool.busy < self._allowed(compute) and bool(pool.idle or self._room(compute))
                )
            )
        finally:
            pool.short -= 1

    async def lost(self, compute: str) -> None:
        """Forget an idle node: the cloud took it back."""
        async with self._changed:
            pool = self.pool(compute)
            pool.idle = max(0, pool.idle - 1)
            self._changed.notify_all()

    async def look_again(self) -> None:
        """Let waiting steps look again: a limit has changed, or quota has become free."""
        async with self._changed:
            self._changed.notify_all()

    def pool(self, compute: str) -> Pool:
        """The nodes of a compute, by its name in whatever case."""
        return self._pools.setdefault(compute.lower(), Pool())

    async def forget(self, compute: str) -> None:
        """The compute is gone, and its idle nodes with it."""
        async with self._changed:
            self.pool(compute).idle = 0
            self._changed.notify_all()

    async def close(self) -> None:
        """Stop waiting for idle nodes to be given back."""
        for task in list(self._waiting):
            task.cancel()
        await asyncio.gather(*self._waiting, return_exceptions=True)

    def _allowed(self, compute: str) -> int:
        return SERVERLESS_NODES if compute == SERVERLESS else self._limit(compute)

    async def _give_back(self, compute: str, pool: Pool) -> None:
        async with self._changed:
            pool.busy -= 1
            pool.idle += 1
            self._changed.notify_all()
        if self._idle_over is not None:
            task = asyncio.create_task(self._scale_down(compute, pool))
            self._waiting.add(task)
            task.add_done_callback(self._waiting.discard)

    async def _scale_down(self, compute: str, pool: Pool) -> None:
        assert self._idle_over is not None
        await self._idle_over(compute)
        async with self._changed:
            pool.idle = max(0, pool.idle - 1)
            self._changed.notify_all()
