"""Each gate against the emulator, by the real SDK: what it brings back, and what it refuses."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from finetuning.azure import ownership
from finetuning.azure.client import open_client, open_registry
from finetuning.azure.settings import Settings, load_settings
from finetuning.errors import CredentialError, DataError, ResourceMissing
from finetuning.form.data import DataChoice
from finetuning.form.run import ComputeChoice, FineTune, ModelChoice
from finetuning.planning.findings import Finding
from finetuning.planning.spending import COMPUTE_OF_STEP
from tasks.component import COMPONENT, check_component
from tasks.compute import look_at_compute
from tasks.connection import check_credential
from tasks.data import look_at_data
from tasks.endpoint import look_at_endpoint
from tasks.model import check_model
from tests.conftest import RunningEmulator, environment, running_emulator

WRITES = ("PUT", "PATCH", "DELETE")


@pytest.fixture
def nothing_is_written(emulator: RunningEmulator) -> Iterator[None]:
    """Whatever the test does, the emulator saw no request that changes anything."""
    seen = emulator.requests()
    before = seen[-1]["index"] if seen else 0
    yield
    assert [one for one in emulator.requests(after=before) if one["method"] in WRITES] == []


def errors(findings: list[Finding]) -> list[str]:
    return [str(one) for one in findings if one.level == "error"]


def test_the_credential_says_who_and_until_when_and_never_its_token(
    settings: Settings, nothing_is_written: None
) -> None:
    found = check_credential.fn(settings, FineTune())

    assert found.kind == "ManagedIdentityCredential"
    assert uuid.UUID(found.principal)
    assert found.location == "westeurope"
    assert errors(found.findings) == []
    assert "eyJ" not in found.model_dump_json()


def test_a_right_that_is_missing_is_an_error_before_anything_is_created(tmp_path: Path) -> None:
    denied = "Microsoft.MachineLearningServices/workspaces/onlineEndpoints/write"
    with (
        running_emulator(tmp_path / "state", "--deny", denied) as strict,
        environment(strict.env),
    ):
        found = check_credential.fn(load_settings(), FineTune())

        assert len(errors(found.findings)) == 1
        assert "may not create endpoints" in errors(found.findings)[0]
        assert "role" in errors(found.findings)[0]
        assert strict.summary()["endpoints"] == []


def test_where_azure_does_not_tell_rights_the_gate_says_so(
    settings: Settings, emulator: RunningEmulator
) -> None:
    emulator.add_fault(
        kind="status", method="GET", path="/permissions", status=404, times=1, code="NotFound"
    )

    found = check_credential.fn(settings, FineTune())

    assert errors(found.findings) == []
    assert any("does not tell" in one.what for one in found.findings)


def test_a_refused_token_is_a_credential_error(
    settings: Settings, emulator: RunningEmulator
) -> None:
    emulator.add_fault(
        kind="status", method="GET", path="/workspaces/", status=403, times=1,
        code="AuthorizationFailed", message="no role assignment",
    )  # fmt: skip

    with pytest.raises(CredentialError, match="no role assignment"):
        check_credential.fn(settings, FineTune())


def test_a_workspace_that_is_not_there_is_named(settings: Settings) -> None:
    other = settings.model_copy(update={"workspace_name": "nowhere"})

    with pytest.raises(ResourceMissing, match="'nowhere' is not in resource group"):
        check_credential.fn(other, FineTune())


def test_a_label_is_resolved_to_a_version_and_an_id(
    settings: Settings, nothing_is_written: None
) -> None:
    found = check_model.fn(settings, ModelChoice())

    assert found.foundation is not None
    assert found.foundation.version == "16"
    assert found.foundation.id.endswith("/models/Phi-3-mini-4k-instruct/versions/16")
    assert errors(found.findings) == []


def test_the_lists_of_system_metadata_reach_us_through_the_sdks_own_connection(
    settings: Settings,
) -> None:
    found = check_model.fn(settings, ModelChoice(name="Phi-4"))

    assert found.card.finetune_sizes is not None
    assert "Standard_NC24ads_A100_v4" in found.card.finetune_sizes


@pytest.mark.parametrize(
    ("choice", "said"),
    [
        ({"name": "Phi-99"}, "'Phi-99:latest' is not in registry 'azureml'"),
        ({"version": "99"}, "'Phi-3-mini-4k-instruct:99' is not in registry 'azureml'"),
        ({"label": "newest"}, "'Phi-3-mini-4k-instruct:newest' is not in registry 'azureml'"),
        ({"version": "15"}, "Phi-3-mini-4k-instruct:15 is archived"),
        ({"name": "Phi-3-mini-128k-instruct"}, "was retired for fine-tuning on 2025-08-30"),
        ({"name": "Phi-4-reasoning"}, "cannot be fine-tuned for chat completion"),
    ],
)
def test_a_model_that_will_not_do_is_refused(
    settings: Settings, nothing_is_written: None, choice: dict[str, Any], said: str
) -> None:
    found = check_model.fn(settings, ModelChoice(**choice))

    assert any(said in one for one in errors(found.findings)), found.findings


def test_an_unreadable_card_is_warned_of(settings: Settings) -> None:
    found = check_model.fn(settings, ModelChoice(name="community-chat-model"))

    fields = [one.what for one in found.findings if one.level == "warning"]
    assert len(fields) == 4


def test_the_component_is_pinned_with_its_69_inputs(
    settings: Settings, nothing_is_written: None
) -> None:
    found = check_component.fn(settings)

    assert found.version == "0.0.82"
    assert found.id is not None and found.id.endswith("/versions/0.0.82")
    assert len(found.declared) == 69
    assert found.declared["num_train_epochs"].min == 1
    assert found.declared["lr_scheduler_type"].enum is not None


def test_the_sdk_reads_the_components_five_steps_in_order(settings: Settings) -> None:
    found: Any = open_registry(settings).components.get(COMPONENT, label="latest")

    assert list(found.jobs) == list(COMPUTE_OF_STEP)
    assert set(found.outputs) == {"pytorch_model_folder", "mlflow_model_folder"}


def test_a_component_that_is_not_there_is_an_error(settings: Settings) -> None:
    found = check_component.fn(settings, "no_such_pipeline")

    assert "'no_such_pipeline' is not in registry 'azureml'" in errors(found.findings)[0]


def test_sizes_and_quota_come_from_the_region(settings: Settings, nothing_is_written: None) -> None:
    found = look_at_compute.fn(settings, ComputeChoice())

    size = found.size("STANDARD_ND40RS_V2")
    assert size is not None and (size.gpus, size.vcpus, size.memory_gb) == (8, 40, 672)
    assert found.quotas[size.family.lower()].limit == 400
    assert any("lowpriority" in name for name in found.quotas)


@pytest.fixture
def made_cluster(settings: Settings) -> Iterator[str]:
    from azure.ai.ml.entities import AmlCompute

    name = f"gate-{uuid.uuid4().hex[:8]}"
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


def test_an_endpoints_name_is_free_until_it_is_taken(settings: Settings) -> None:
    from azure.ai.ml.entities import ManagedOnlineEndpoint

    name = f"gate-{uuid.uuid4().hex[:8]}"
    client = open_client(settings)
    assert not look_at_endpoint.fn(settings, name).taken

    made = ManagedOnlineEndpoint(name=name, auth_mode="key", tags={ownership.KEY_TAG: "mine"})
    client.online_endpoints.begin_create_or_update(made).result()
    try:
        found = look_at_endpoint.fn(settings, name)
    finally:
        client.online_endpoints.begin_delete(name).wait()

    assert found.taken and found.run_key == "mine"


def test_rows_are_counted_and_few_are_looked_at(settings: Settings) -> None:
    found = look_at_data.fn(settings, DataChoice(percentage=50), None)

    assert {name: facts.rows for name, facts in found.items()} == {
        "train_sft": 700, "test_sft": 300, "train_gen": 700, "test_gen": 300,
    }  # fmt: skip
    assert found["train_sft"].survey.rows == 400
    assert found["train_sft"].survey.malformed == 0
    assert found["train_sft"].tokens > found["train_sft"].survey.tokens


def test_long_conversations_are_counted_against_the_longest_sequence(settings: Settings) -> None:
    found = look_at_data.fn(settings, DataChoice(percentage=5), 64)

    assert found["train_sft"].survey.over_long > 0


@pytest.mark.parametrize(
    ("choice", "said"),
    [
        ({"dataset": "nobody/nothing"}, "'nobody/nothing' is not on the Hub"),
        ({"revision": "no-such-branch"}, "run.data.revision"),
        ({"splits": ("train_sft", "validation")}, "Split 'validation' is not in dataset"),
    ],
)
def test_data_that_is_not_there_is_named(
    settings: Settings, choice: dict[str, Any], said: str
) -> None:
    with pytest.raises(DataError, match=said):
        look_at_data.fn(settings, DataChoice(**choice), None)


def test_a_missing_split_is_refused_with_those_that_are_there(settings: Settings) -> None:
    look: Callable[..., Any] = look_at_data.fn

    with pytest.raises(DataError, match="which has: train_sft, test_sft"):
        look(settings, DataChoice(splits=("validation",)), None)
