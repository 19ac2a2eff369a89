"""The real azure-ai-ml over TLS: one test for each step that it takes of the tutorial.

Jobs, run history and MLflow are in ``test_jobs_sdk.py`` and ``test_notebook_sequence.py``.
"""

import json
import subprocess
import sys
import uuid
from pathlib import Path

import pytest

from tests.conftest import CACHE, ROOT, environment

QUESTION = {
    "input_data": {
        "input_string": [[{"role": "user", "content": "What is a Prefect task?"}]],
        "parameters": {"temperature": 0.6, "top_p": 0.9, "do_sample": True, "max_new_tokens": 8},
    },
    "params": {},
}


@pytest.fixture(scope="module")
def env(shared_emulator):
    with environment(shared_emulator.env):
        yield shared_emulator.env


@pytest.fixture(scope="module")
def credential(env):
    from azure.identity import DefaultAzureCredential

    with DefaultAzureCredential() as found:
        yield found


@pytest.fixture(scope="module")
def client(env, credential):
    from azure.ai.ml import MLClient

    return MLClient(
        credential,
        env["AZURE_SUBSCRIPTION_ID"],
        env["AZURE_RESOURCE_GROUP"],
        env["AZURE_WORKSPACE_NAME"],
        cloud=env["AZUREML_CURRENT_CLOUD"],
    )


@pytest.fixture(scope="module")
def registry(env, credential):
    from azure.ai.ml import MLClient

    return MLClient(credential, registry_name="azureml", cloud=env["AZUREML_CURRENT_CLOUD"])


@pytest.fixture(scope="module")
def weights():
    """The tiny model's folder, as a registered model would hold it."""
    program = ROOT / "emulator/workloads/base_weights.py"
    made = subprocess.run(
        [sys.executable, str(program), "--kind", "tiny", "--cache", str(CACHE)],
        capture_output=True, text=True, check=True, timeout=200,
    )  # fmt: skip
    return Path(made.stdout.strip().splitlines()[-1])


def fresh(word):
    # A letter first: Azure refuses a compute whose name ends in a hyphen and digits alone.
    return f"{word}-x{uuid.uuid4().hex[:7]}"


def journal(emulator, since, *needles):
    """Method and path of later requests whose path has one of the words."""
    return [
        (one["method"], one["path"])
        for one in emulator.requests(after=since)
        if any(needle in one["path"] for needle in needles)
    ]


def last(emulator):
    return emulator.requests()[-1]["index"]


# -- workspace and registry


def test_the_workspace_tells_its_tracking_uri_and_region(client, env):
    found = client.workspaces.get(env["AZURE_WORKSPACE_NAME"])

    assert found.location == "westeurope"
    assert found.mlflow_tracking_uri.startswith("azureml://")
    assert found.storage_account
    assert [one.name for one in client.workspaces.list()] == [env["AZURE_WORKSPACE_NAME"]]


def test_a_workspace_that_does_not_exist_is_not_found(client, credential, env):
    from azure.ai.ml import MLClient
    from azure.core.exceptions import ResourceNotFoundError

    other = MLClient(
        credential, env["AZURE_SUBSCRIPTION_ID"], env["AZURE_RESOURCE_GROUP"], "elsewhere",
        cloud=env["AZUREML_CURRENT_CLOUD"],
    )  # fmt: skip
    with pytest.raises(ResourceNotFoundError, match="elsewhere"):
        other.compute.get("gpu")


def test_the_registrys_latest_model_is_the_one_created_last(registry):
    found = registry.models.get("Phi-3-mini-4k-instruct", label="latest")
    same = registry.models.get("Phi-3-mini-4k-instruct", version=found.version)

    assert found.id == same.id
    assert found.id.startswith("azureml://registries/azureml/models/Phi-3-mini-4k-instruct/")
    assert found.tags
    assert "Phi-3-mini-4k-instruct" in [one.name for one in registry.models.list()]


def test_a_model_that_the_registry_has_not_is_an_error(registry):
    from azure.core.exceptions import ResourceNotFoundError

    with pytest.raises(ResourceNotFoundError):
        registry.models.get("Phi-3-mini-4k-instruct", version="999")
    with pytest.raises(Exception, match="gpt-9"):
        registry.models.get("gpt-9", label="latest")


def test_the_pipeline_component_can_be_called_with_its_declared_inputs(registry):
    found = registry.components.get("chat_completion_pipeline", label="latest")

    assert found.inputs["num_train_epochs"].type == "integer"
    assert {"pytorch_model_folder", "mlflow_model_folder"} <= set(found.outputs)
    assert "chat_completion_pipeline" in [one.name for one in registry.components.list()]


# -- computes


def test_a_missing_cluster_is_not_found(client):
    from azure.core.exceptions import ResourceNotFoundError

    with pytest.raises(ResourceNotFoundError):
        client.compute.get("nowhere")


def test_a_created_cluster_is_found_and_its_scale_can_be_changed(client):
    from azure.ai.ml.entities import AmlCompute

    name = fresh("gpu")
    wanted = AmlCompute(
        name=name, size="Standard_NC24ads_A100_v4", tier="low_priority", max_instances=2,
        idle_time_before_scale_down=120, tags={"flow": "test"},
    )  # fmt: skip
    made = client.compute.begin_create_or_update(wanted).result()
    made.max_instances = 1
    client.compute.begin_update(made).result()
    found = client.compute.get(name)

    assert (found.provisioning_state, found.size.lower()) == (
        "Succeeded",
        "standard_nc24ads_a100_v4",
    )
    assert (found.tier, found.max_instances, found.tags) == ("low_priority", 1, {"flow": "test"})
    assert found.idle_time_before_scale_down == 120
    assert name in [one.name for one in client.compute.list()]
    assert list(client.compute.list_nodes(name)) == []
    client.compute.begin_delete(name).result()
    assert name not in [one.name for one in client.compute.list()]


def test_a_cluster_without_quota_fails_with_the_services_words(client, emulator):
    from azure.ai.ml.entities import AmlCompute
    from azure.core.exceptions import HttpResponseError

    emulator.add_fault(kind="no_dedicated_quota")
    with pytest.raises(HttpResponseError, match="quota of 0"):
        client.compute.begin_create_or_update(
            AmlCompute(name=fresh("gpu"), size="Standard_NC6s_v3")
        ).result()


def test_sizes_name_their_gpus_and_usages_their_limits(client):
    sizes = {one.name: one for one in client.compute.list_sizes()}
    usages = list(client.compute.list_usage())

    assert sizes["Standard_NC24ads_A100_v4"].gpus == 1
    assert usages
    limits = [(vars(one)["limit"], vars(one)["currentValue"]) for one in usages]
    assert all(limit >= used or limit == -1 for limit, used in limits)  # -1: none of its own


# -- data


def test_a_file_is_uploaded_once_and_its_data_asset_found(client, emulator, tmp_path):
    from azure.ai.ml.entities import Data

    name, file = fresh("rows"), tmp_path / "rows.jsonl"
    file.write_text('{"n": 1}\n')

    def register(version):
        data = Data(name=name, version=version, path=str(file), type="uri_file", tags={"a": "b"})
        return client.data.create_or_update(data)

    made = register("1")
    since = last(emulator)
    again = register("2")
    uploads = [one for one in journal(emulator, since, "rows.jsonl") if one[0] == "PUT"]

    assert uploads == []
    assert made.path == again.path
    assert client.data.get(name, label="latest").version == "2"
    assert client.data.get(name, version="1").tags == {"a": "b"}
    assert {one.version for one in client.data.list(name)} == {"1", "2"}


def test_a_data_assets_bytes_stay_what_they_were(client, tmp_path):
    from azure.ai.ml.entities import Data
    from azure.core.exceptions import HttpResponseError

    name, file = fresh("rows"), tmp_path / "rows.jsonl"
    for content in ("first", "second"):
        file.write_text(content)
        data = Data(name=name, version="1", path=str(file), type="uri_file")
        if content == "first":
            client.data.create_or_update(data)
    with pytest.raises(Exception, match="version") as caught:
        client.data.create_or_update(data)

    assert isinstance(caught.value, HttpResponseError) or "already exists" in str(caught.value)


def test_the_default_datastore_is_the_workspaces_blob_store(client, env):
    found = client.datastores.get_default()

    assert found.name == "workspaceblobstore"
    assert {one.name for one in client.datastores.list()} == {
        "workspaceblobstore",
        "workspaceartifactstore",
        "workspacefilestore",
        "workspaceworkingdirectory",
    }


# -- model, endpoint, deployment, scoring


@pytest.fixture(scope="module")
def model(client, weights):
    """The tiny model, uploaded and registered."""
    from azure.ai.ml.entities import Model

    return client.models.create_or_update(
        Model(name="contract-model", path=str(weights), type="mlflow_model", tags={"who": "test"})
    )


@pytest.fixture(scope="module")
def served(client, model):
    """An endpoint that serves the model; afterwards it is gone."""
    from azure.ai.ml.entities import (
        ManagedOnlineDeployment,
        ManagedOnlineEndpoint,
        OnlineRequestSettings,
        ProbeSettings,
    )

    name = fresh("ep")
    endpoint = ManagedOnlineEndpoint(name=name, auth_mode="key", tags={"flow": "test"})
    client.online_endpoints.begin_create_or_update(endpoint).result()
    deployment = ManagedOnlineDeployment(
        name="blue",
        endpoint_name=name,
        model=model.id,
        instance_type="Standard_NC6s_v3",
        instance_count=1,
        liveness_probe=ProbeSettings(initial_delay=600),
        request_settings=OnlineRequestSettings(request_timeout_ms=90000),
        tags={"flow": "test"},
    )
    client.online_deployments.begin_create_or_update(deployment).result()
    endpoint.traffic = {"blue": 100}
    client.online_endpoints.begin_create_or_update(endpoint).result()
    yield name
    client.online_endpoints.begin_delete(name).result()


def test_a_registered_model_counts_its_versions(client, model, weights):
    from azure.ai.ml.entities import Model

    second = client.models.create_or_update(
        Model(name="contract-model", path=str(weights), type="mlflow_model")
    )

    assert (model.version, second.version) == ("1", "2")
    assert client.models.get("contract-model", label="latest").version == "2"
    assert client.models.get("contract-model", version="1").tags == {"who": "test"}
    assert [one.version for one in client.models.list("contract-model")] == ["2", "1"]


def test_a_model_of_a_job_that_never_was_is_refused(client):
    from azure.ai.ml.entities import Model
    from azure.core.exceptions import HttpResponseError

    path = "azureml://jobs/never/outputs/trained_model"
    with pytest.raises(HttpResponseError, match="never"):
        client.models.create_or_update(Model(name="lost", path=path, type="mlflow_model"))


def test_an_endpoint_answers_the_tutorials_request(client, served, tmp_path):
    file = tmp_path / "request.json"
    file.write_text(json.dumps(QUESTION))
    answer = json.loads(
        client.online_endpoints.invoke(served, request_file=str(file), deployment_name="blue")
    )
    routed = json.loads(client.online_endpoints.invoke(served, request_file=str(file)))

    assert isinstance(answer["output"], str)
    assert set(routed) == {"output"}


def test_a_deployment_reads_back_as_it_was_made(client, served):
    found = client.online_deployments.get("blue", served)

    assert (found.provisioning_state, found.instance_type) == ("Succeeded", "Standard_NC6s_v3")
    assert found.request_settings.request_timeout_ms == 90000
    assert (found.instance_count, found.tags) == (1, {"flow": "test"})
    assert [one.name for one in client.online_deployments.list(served)] == ["blue"]
    assert client.online_endpoints.get(served).traffic == {"blue": 100}
    assert served in [one.name for one in client.online_endpoints.list()]


def test_the_scorers_log_is_what_it_printed(client, served):
    log = client.online_deployments.get_logs("blue", served, lines=50)

    assert "loading" in log and "ready" in log


def test_keys_can_be_read_and_made_anew(client, served, emulator):
    before = client.online_endpoints.get_keys(served)
    client.online_endpoints.begin_regenerate_keys(served, key_type="secondary").result()
    after = client.online_endpoints.get_keys(served)

    assert after.primary_key == before.primary_key
    assert after.secondary_key != before.secondary_key


def test_a_bad_request_is_told_to_the_caller(client, served, tmp_path):
    from azure.core.exceptions import HttpResponseError

    file = tmp_path / "request.json"
    file.write_text(json.dumps({"input_data": {}}))
    with pytest.raises(HttpResponseError, match="input_string"):
        client.online_endpoints.invoke(served, request_file=str(file))


def test_a_failed_deployment_raises_the_services_error(client, served, model, emulator):
    from azure.ai.ml.entities import ManagedOnlineDeployment
    from azure.core.exceptions import HttpResponseError

    emulator.add_fault(kind="deployment_fails", message="no capacity for this size")
    green = ManagedOnlineDeployment(
        name="green", endpoint_name=served, model=model.id, instance_type="Standard_NC6s_v3",
        instance_count=1,
    )  # fmt: skip
    with pytest.raises(HttpResponseError, match="no capacity for this size"):
        client.online_deployments.begin_create_or_update(green).result()

    assert client.online_deployments.get("green", served).provisioning_state == "Failed"
    client.online_deployments.begin_delete("green", served).result()


def test_a_deleted_endpoint_leaves_no_process(client, emulator):
    from azure.ai.ml.entities import ManagedOnlineEndpoint
    from azure.core.exceptions import ResourceNotFoundError

    name = fresh("ep")
    client.online_endpoints.begin_create_or_update(ManagedOnlineEndpoint(name=name)).result()
    client.online_endpoints.begin_delete(name).result()

    with pytest.raises(ResourceNotFoundError):
        client.online_endpoints.get(name)
    assert not [one for one in emulator.summary()["processes"] if name in one]


def test_a_transient_error_is_ridden_out_by_the_sdk_itself(client, emulator):
    from azure.core.exceptions import ResourceNotFoundError

    emulator.add_fault(kind="status", status=429, retry_after=0, path="/computes/", times=2)
    with pytest.raises(ResourceNotFoundError):
        client.compute.get("nowhere")


def test_no_request_went_anywhere_else(emulator, env):
    suffix = env["ARM_CLOUD_METADATA_URL"].split("/")[2].removeprefix("management.")
    hosts = {one["host"] for one in emulator.requests()}

    assert hosts
    assert all(host.endswith(suffix) or host == "127.0.0.1" for host in hosts)
