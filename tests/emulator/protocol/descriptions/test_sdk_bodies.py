"""The bodies that azure-ai-ml sends are allowed by the descriptions: the SDK's own entities."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from emulator.protocol.descriptions import find

WORKSPACE = (
    "/subscriptions/5f08b5ff-4ec5-4a2f-a1a8-f4b5f4a3f5b5/resourceGroups/g"
    "/providers/Microsoft.MachineLearningServices/workspaces/ws-1"
)
ENVIRONMENT = f"{WORKSPACE}/environments/env/versions/1"
COMPONENT = "azureml://registries/azureml/components/chat_completion_pipeline/versions/0.0.82"


def cluster() -> Any:
    from azure.ai.ml.entities import AmlCompute, AmlComputeSshSettings

    return AmlCompute(
        name="gpu-cluster",
        size="Standard_NC24ads_A100_v4",
        min_instances=0,
        max_instances=2,
        idle_time_before_scale_down=120,
        tier="low_priority",
        ssh_settings=AmlComputeSshSettings(admin_username="me", admin_password="secret"),
        tags={"owner": "flow"},
    )


def model() -> Any:
    from azure.ai.ml.entities import Model

    return Model(
        name="chat",
        version="1",
        type="mlflow_model",
        path="azureml://jobs/some-job/outputs/trained_model",
        description="fine-tuned",
        tags={"a": "b"},
        properties={"c": "d"},
    )


def data() -> Any:
    from azure.ai.ml.entities import Data

    uri = "azureml://datastores/workspaceblobstore/paths/rows"
    return Data(name="rows", version="1", type="uri_folder", path=uri, tags={"a": "b"})


def environment() -> Any:
    from azure.ai.ml.entities import Environment

    return Environment(name="env", version="1", image="python:3.11", description="plain")


def code() -> Any:
    from azure.ai.ml.entities._assets import Code

    return Code(name="code", version="1", path="https://store.blob.core.windows.net/c/folder")


def blob_datastore() -> Any:
    from azure.ai.ml.entities import AccountKeyConfiguration, AzureBlobDatastore

    return AzureBlobDatastore(
        name="store",
        account_name="account",
        container_name="container",
        credentials=AccountKeyConfiguration(account_key="a2V5"),
    )


def endpoint() -> Any:
    from azure.ai.ml.entities import ManagedOnlineEndpoint

    return ManagedOnlineEndpoint(
        name="chat-end", auth_mode="key", tags={"a": "b"}, traffic={"blue": 90, "green": 10}
    )


def deployment() -> Any:
    from azure.ai.ml.entities import (
        DefaultScaleSettings,
        ManagedOnlineDeployment,
        OnlineRequestSettings,
        ProbeSettings,
    )

    return ManagedOnlineDeployment(
        name="blue",
        endpoint_name="chat-end",
        model=f"{WORKSPACE}/models/chat/versions/1",
        instance_type="Standard_NC24ads_A100_v4",
        instance_count=1,
        environment_variables={"A": "1"},
        liveness_probe=ProbeSettings(initial_delay=600, period=10, timeout=2),
        request_settings=OnlineRequestSettings(request_timeout_ms=90_000),
        scale_settings=DefaultScaleSettings(),
    )


def command_job() -> Any:
    from azure.ai.ml import Input, Output, command

    return command(
        name="job-1",
        command="python train.py --rows ${{inputs.rows}}",
        environment=ENVIRONMENT,
        compute=f"{WORKSPACE}/computes/gpu-cluster",
        inputs={
            "rows": Input(type="uri_folder", path="azureml://datastores/d/paths/p"),
            "rate": 0.1,
        },
        outputs={"model": Output(type="uri_folder", mode="rw_mount")},
        environment_variables={"A": "1"},
        instance_count=2,
        distribution={"type": "pytorch", "process_count_per_instance": 4},
        experiment_name="chat",
    )._to_job()


def pipeline_job() -> Any:
    from azure.ai.ml import Input, Output
    from azure.ai.ml.entities import PipelineJob
    from azure.ai.ml.entities._builders import Command

    node = Command(
        component=COMPONENT,
        compute=f"{WORKSPACE}/computes/gpu-cluster",
        inputs={"train": Input(type="uri_file", path="${{parent.inputs.train}}")},
        outputs={"trained": Output(type="mlflow_model", path="${{parent.outputs.trained}}")},
    )
    job = PipelineJob(
        name="job-2",
        jobs={"fine_tune": node},
        inputs={"train": Input(type="uri_file", path="azureml://datastores/d/paths/rows.jsonl")},
        outputs={"trained": Output(type="mlflow_model")},
        experiment_name="chat",
    )
    job.settings.force_rerun = True
    return job


CASES: list[tuple[str, str, Callable[[], Any]]] = [
    ("computes/gpu-cluster", "2023-08-01-preview", cluster),
    ("models/chat/versions/1", "2023-08-01-preview", model),
    ("data/rows/versions/1", "2023-04-01-preview", data),
    ("environments/env/versions/1", "2023-04-01-preview", environment),
    ("codes/code/versions/1", "2023-04-01", code),
    ("datastores/store", "2024-10-01-preview", blob_datastore),
    ("jobs/job-1", "2025-01-01-preview", command_job),
    ("jobs/job-2", "2024-01-01-preview", pipeline_job),
]


def wire(rest: Any) -> Any:
    """What the SDK's client writes on the wire for one of its models."""
    from azure.ai.ml._restclient.arm_ml_service._utils.model_base import SdkJSONEncoder

    if hasattr(rest, "serialize"):
        return rest.serialize()
    return json.loads(json.dumps(rest, cls=SdkJSONEncoder, exclude_readonly=True))


def told(path: str, version: str, body: Any) -> list[str]:
    query = {"api-version": version}
    operation = find("PUT", f"{WORKSPACE}/{path}", query)
    assert operation is not None, path
    return [str(one) for one in operation.check_request(query, {}, body)]


@pytest.mark.parametrize(("path", "version", "entity"), CASES, ids=[case[0] for case in CASES])
def test_what_the_sdk_writes_is_allowed(path, version, entity):
    body = wire(entity()._to_rest_object())

    assert body["properties"], "an empty body would show nothing"
    assert told(path, version, body) == []


def test_an_endpoint_as_the_sdk_writes_it_is_allowed():
    body = wire(endpoint()._to_rest_online_endpoint("westeurope"))

    assert body["properties"]["traffic"] == {"blue": 90, "green": 10}
    assert told("onlineEndpoints/chat-end", "2022-02-01-preview", body) == []


def test_a_deployment_as_the_sdk_writes_it_is_allowed():
    body = wire(deployment()._to_rest_object("westeurope"))

    assert body["properties"]["scaleSettings"]["scaleType"] == "Default"
    path = "onlineEndpoints/chat-end/deployments/blue"
    assert told(path, "2023-04-01-preview", body) == []
