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

TO_THE_JOB = ("job.queue", "compute.start_node")
AFTER_THE_JOB = ("deployment.create", "endpoint.update", "endpoint.delete")
#: What is left once everything overlaps that can.
PATH = (*TO_THE_JOB, *AFTER_THE_JOB)
#: What the tutorial's calls wait for one after another, once each.
SEQUENCE = ("compute.create", "endpoint.create", *PATH)


@dataclass(frozen=True)
class Measured:
    """Seconds that no profile knows: our own steps', the job's programs', the scorer's."""

    data: float
    upload: float
    job: float
    scoring: float


def seconds(profile: Profile, measured: Measured, *, cluster_there: bool) -> float:
    """Return the critical path in real seconds, the profile's latencies scaled."""

    def latency(*names: str) -> float:
        return sum(map(profile.seconds, names)) * profile.time_scale

    compute = 0.0 if cluster_there else latency("compute.create")
    before = max(compute, measured.data + measured.upload)
    job = max(measured.job + latency(*TO_THE_JOB), latency("endpoint.create"))
    return before + job + latency(*AFTER_THE_JOB) + measured.scoring


def at_full_scale(
    wall: float, profile: Profile, waited_for: tuple[str, ...], *, cluster_there: bool
) -> float:
    """Return what a measured wall becomes when latencies are the real ones: nothing else grows.

    ``waited_for`` are the latencies that the measured program had to wait for.
    """
    names = [name for name in waited_for if not (cluster_there and name == "compute.create")]
    return wall + sum(profile.seconds(name) for name in names) * (1 - profile.time_scale)
