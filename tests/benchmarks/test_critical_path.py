"""The critical path: what overlaps counts once, what cannot counts."""

import pytest

from benchmarks.critical_path import PATH, SEQUENCE, Measured, at_full_scale, seconds
from emulator.latency import AZURE, Profile

QUICK = Measured(data=5, upload=1, job=100, scoring=2)


def test_without_a_cluster_its_creation_is_waited_for_unless_the_data_takes_longer():
    whole = Profile("azure")
    rest = 30 + 240 + 100 + 480 + 30 + 2 + 120
    slow = Measured(data=300, upload=20, job=100, scoring=2)

    assert seconds(whole, QUICK, cluster_there=False) == 60 + rest
    assert seconds(whole, slow, cluster_there=False) == 320 + rest
    assert seconds(whole, QUICK, cluster_there=True) == 6 + rest


def test_latencies_are_scaled_and_what_was_measured_is_not():
    latencies = sum(AZURE[name] for name in PATH)

    found = seconds(Profile("azure", 0.01), QUICK, cluster_there=True)
    assert found == pytest.approx(6 + 100 + 2 + latencies / 100)


def test_the_endpoint_is_hidden_behind_the_job_but_not_by_a_shorter_one():
    short = Profile("azure", overrides=(("job.queue", 0), ("compute.start_node", 0)))
    nothing = Measured(data=0, upload=0, job=10, scoring=0)

    assert seconds(short, nothing, cluster_there=True) == 90 + 480 + 30 + 120


def test_a_wall_at_full_scale_has_the_whole_latencies():
    profile = Profile("azure", 0.1)
    scaled = 0.1 * sum(AZURE[name] for name in SEQUENCE)

    found = at_full_scale(20 + scaled, profile, SEQUENCE, cluster_there=False)
    assert found == pytest.approx(20 + 10 * scaled)


def test_every_latency_of_the_path_is_one_of_the_profiles():
    assert set(PATH) < set(SEQUENCE) <= set(AZURE)
