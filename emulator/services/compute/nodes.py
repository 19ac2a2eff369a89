"""Who holds which node of which compute.

A step waits here until its compute has a node to spare; a node that was not running has to be
started first, which takes the profile's time.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

SERVERLESS = "serverless"
SERVERLESS_NODES = 8  # no cluster limits serverless steps on Azure, the machine we run on does


@dataclass
class Pool:
    """Nodes of one compute: ``busy`` run a step, ``idle`` are up and wait, the rest are off."""

    busy: int = 0
    idle: int = 0
    changed: asyncio.Condition = field(default_factory=asyncio.Condition)


class Nodes:
    """Node accounting of all computes.

    ``limit`` tells how many nodes a compute may have now (its cluster may be rescaled any time);
    ``start_node`` returns when a node has come up.
    """

    def __init__(
        self, limit: Callable[[str], int], start_node: Callable[[str], Awaitable[None]]
    ) -> None:
        self._limit = limit
        self._start_node = start_node
        self._pools: dict[str, Pool] = {}

    @asynccontextmanager
    async def hold(self, compute: str) -> AsyncIterator[None]:
        """Hold one node of the compute; waits while all of them are busy."""
        pool = self._pools.setdefault(compute, Pool())
        async with pool.changed:
            await pool.changed.wait_for(lambda: pool.busy < self._allowed(compute))
            pool.busy += 1
            warm = pool.idle > 0
            pool.idle -= warm
        try:
            if not warm:
                await self._start_node(compute)
            yield
        finally:
            await self._give_back(pool)

    async def lost(self, compute: str) -> None:
        """Forget an idle node: the cloud took it back."""
        pool = self._pools.setdefault(compute, Pool())
        pool.idle = max(0, pool.idle - 1)

    async def rescaled(self, compute: str) -> None:
        """Let waiting steps look again after the cluster's limit has changed."""
        pool = self._pools.setdefault(compute, Pool())
        async with pool.changed:
            pool.changed.notify_all()

    def busy(self, compute: str) -> int:
        """How many nodes of the compute run a step now."""
        return self._pools[compute].busy if compute in self._pools else 0

    def _allowed(self, compute: str) -> int:
        return SERVERLESS_NODES if compute == SERVERLESS else self._limit(compute)

    async def _give_back(self, pool: Pool) -> None:
        async with pool.changed:
            pool.busy -= 1
            pool.idle += 1
            pool.changed.notify_all()
