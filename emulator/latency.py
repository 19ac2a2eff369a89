"""How long the service takes for what, in seconds.

``azure`` has the real service's proportions, to be scaled down by ``--time-scale``; ``fast`` has no
latency but the work's own.
"""

from dataclasses import dataclass

AZURE = {
    "compute.create": 60.0,
    "compute.delete": 60.0,
    "compute.start_node": 240.0,
    "endpoint.create": 90.0,
    "endpoint.update": 30.0,
    "endpoint.delete": 120.0,
    "deployment.create": 480.0,
    "deployment.delete": 90.0,
    "deployment.restart": 10.0,  # after a crash; doubles up to five minutes
    "job.queue": 30.0,
    "request": 0.08,
}
#: How often the service asks a client to look at a long-running operation again.
POLL = {"azure": 10.0, "fast": 0.05}
FAST = {"deployment.restart": 0.5}  # not nought: a process that crashes at once would spin
PROFILES: dict[str, dict[str, float]] = {"azure": AZURE, "fast": FAST}


@dataclass(frozen=True)
class Profile:
    """One set of latencies; ``overrides`` replace single ones (``--latency NAME=SECONDS``)."""

    name: str
    time_scale: float = 1.0
    overrides: tuple[tuple[str, float], ...] = ()

    def seconds(self, operation: str) -> float:
        """Unscaled seconds that the operation takes; the clock scales them."""
        return dict(self.overrides).get(operation, PROFILES[self.name].get(operation, 0.0))

    @property
    def poll_ms(self) -> int:
        """Real milliseconds to put into ``x-ms-retry-after-ms``."""
        return max(20, int(POLL[self.name] * self.time_scale * 1000))
