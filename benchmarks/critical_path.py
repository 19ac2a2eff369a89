"""The shortest that a fine-tune can take, from the profile's latencies and what was measured.

    max(compute.create, data + upload)      the cluster is made while the data is prepared
    + job.queue + compute.start_node + job  job: the sum of its steps' own seconds
    + deployment.create + endpoint.update   the endpoint itself is made while the job runs
    + scoring + endpoint.delete

``compute.create`` is nought where the cluster is there. Requests' own latency, the polls' rounding
up, imports and Prefect are not in it: what they cost shows as the difference.
"""

from __future__ import annotations

from dataclasses import dataclass

from emulator.latency import Profile

#: What the tutorial's calls wait for one after another, once each.
SEQUENCE = (
    "compute.create",
    "job.queue",
    "compute.start_node",
    "endpoint.create",
    "deployment.create",
    "endpoint.update",
    "endpoint.delete",
)
#: What is left of these once everything overlaps that can.
PATH = tuple(one for one in SEQUENCE if one not in ("compute.create", "endpoint.create"))


@dataclass(frozen=True)
class Measured:
    """Seconds that no profile knows: our own steps', the job's programs', the scorer's."""

    data: float
    upload: float
    job: float
    scoring: float


def seconds(profile: Profile, measured: Measured, *, cluster_there: bool) -> float:
    """Return the critical path in real seconds, the profile's latencies scaled."""

    def latency(name: str) -> float:
        return profile.seconds(name) * profile.time_scale

    compute = 0.0 if cluster_there else latency("compute.create")
    before = max(compute, measured.data + measured.upload)
    job = max(measured.job + latency("job.queue") + latency("compute.start_node"),
              latency("endpoint.create"))  # fmt: skip
    after = sum(latency(name) for name in PATH if name not in ("job.queue", "compute.start_node"))
    return before + job + after + measured.scoring


def at_full_scale(
    wall: float, profile: Profile, waited_for: tuple[str, ...], *, cluster_there: bool
) -> float:
    """Return what a measured wall becomes when latencies are the real ones: nothing else grows.

    ``waited_for`` are the latencies that the measured program had to wait for.
    """
    names = [one for one in waited_for if not (cluster_there and one == "compute.create")]
    return wall + sum(profile.seconds(one) for one in names) * (1 - profile.time_scale)
