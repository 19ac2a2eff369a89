"""What the region and the workspace tell of computes, by the real SDK."""

from __future__ import annotations

import uuid
from collections.abc import Iterator

import pytest

from finetuning.azure.client import open_client
from finetuning.azure.settings import Settings
from finetuning.errors import CredentialError
from finetuning.form.run import ComputeChoice
from finetuning.planning.quotas import quota_of
from tasks.compute import look_at_compute
from tests.conftest import RunningEmulator


def test_sizes_and_quota_come_from_the_region(settings: Settings, nothing_is_written: None) -> None:
    found = look_at_compute.fn(settings, ComputeChoice())

    size = found.size("STANDARD_ND40RS_V2")
    assert size is not None and (size.gpus, size.vcpus, size.memory_gb) == (8, 40, 672)
    quota = quota_of(found.quotas, size.family)
    assert quota is not None and quota.limit == 400
    assert any("low" in name.lower() for name in found.quotas)


@pytest.fixture
def made_cluster(settings: Settings) -> Iterator[str]:
    from azure.ai.ml.entities import AmlCompute

    name = f"gate-x{uuid.uuid4().hex[:7]}"
    cluster = AmlCompute(
        name=name, size="Standard_NC24s_v3", max_instances=3, tier="low_priority",
        idle_time_before_scale_down=240,
    )  # fmt: skip
    client = open_client(settings)
    client.compute.begin_create_or_update(cluster).result()
    yield name
    client.compute.begin_delete(name).wait()


def test_a_cluster_that_exists_tells_its_facts(settings: Settings, made_cluster: str) -> None:
    found = look_at_compute.fn(settings, ComputeChoice(name=made_cluster)).clusters[made_cluster]

    assert (found.state, found.size, found.max_nodes) == ("succeeded", "Standard_NC24s_v3", 3)
    assert found.low_priority
    assert found.idle_seconds == 240


def test_a_wrong_credential_is_not_taken_for_a_missing_cluster(
    settings: Settings, emulator: RunningEmulator
) -> None:
    emulator.add_fault(
        kind="status", method="GET", path="/computes/", status=401, times=4, code="Unauthorized"
    )

    with pytest.raises(CredentialError):
        look_at_compute.fn(settings, ComputeChoice())


def test_where_azure_does_not_tell_quota_the_gate_says_so(
    settings: Settings, emulator: RunningEmulator
) -> None:
    emulator.add_fault(
        kind="status",
        method="GET",
        path="/usages",
        status=409,
        times=1,
        code="NoRegisteredProvider",
    )

    found = look_at_compute.fn(settings, ComputeChoice())

    assert found.quotas == {}
    assert "does not tell the quota" in found.findings[0].what
