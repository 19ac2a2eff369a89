"""The tutorial's calls, one after another, by the unmodified libraries: no code of ours between.

What a notebook would do by hand, with two changes for speed: a smaller share of the data, and
``max_steps``.
"""

import json
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import RunningEmulator

MODEL = "Phi-3-mini-4k-instruct"
CLUSTER = "gpu-cluster-big"
SIZE = "Standard_ND40rs_v2"
EXPERIMENT = f"chat_completion_{MODEL}"
STAMP = "1700000000"
ENDPOINT = f"ultrachat-completion-{STAMP}"
SPLITS = ("train_sft", "test_sft", "train_gen", "test_gen")


@pytest.fixture
def notebook(
    azure_env: RunningEmulator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[RunningEmulator]:
    """A folder with the ``config.json`` that a workspace offers for download."""
    import mlflow

    names = {
        "subscription_id": azure_env.env["AZURE_SUBSCRIPTION_ID"],
        "resource_group": azure_env.env["AZURE_RESOURCE_GROUP"],
        "workspace_name": azure_env.env["AZURE_WORKSPACE_NAME"],
    }
    (tmp_path / "config.json").write_text(json.dumps(names))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hf"))
    before = mlflow.get_tracking_uri()
    yield azure_env
    mlflow.set_tracking_uri(before)


def connect() -> tuple[Any, Any]:
    from azure.ai.ml import MLClient
    from azure.identity import DefaultAzureCredential

    credential = DefaultAzureCredential()
    credential.get_token("https://management.azure.com/.default")
    return MLClient.from_config(credential=credential), MLClient(
        credential, registry_name="azureml"
    )


def provide_cluster(workspace: Any) -> Any:
    from azure.ai.ml.entities import AmlCompute
    from azure.core.exceptions import ResourceNotFoundError

    try:
        cluster = workspace.compute.get(CLUSTER)
    except ResourceNotFoundError:
        wanted = AmlCompute(name=CLUSTER, size=SIZE, max_instances=2)
        workspace.compute.begin_create_or_update(wanted).wait()
        cluster = workspace.compute.get(CLUSTER)
    assert cluster.provisioning_state.lower() != "failed"
    return cluster


def gpus(workspace: Any, size: str) -> int:
    sizes = {s.name.lower(): s.gpus for s in workspace.compute.list_sizes()}
    return int(sizes[size.lower()])


def download_splits(folder: Path) -> None:
    """What the tutorial's own download script does, with 1 % in the place of 5 %."""
    from datasets import load_dataset

    for split in SPLITS:
        part = load_dataset("HuggingFaceH4/ultrachat_200k", split=f"{split}[0%:1%]")
        part.to_json(folder / f"{split}.jsonl")


def submit(workspace: Any, registry: Any, model: Any, folder: Path, gpu_count: int) -> Any:
    import ast

    from azure.ai.ml import Input
    from azure.ai.ml.dsl import pipeline

    values = {
        "num_train_epochs": 3,
        "per_device_train_batch_size": 1,
        "per_device_eval_batch_size": 1,
        "learning_rate": 5e-6,
        "lr_scheduler_type": "cosine",
        "apply_lora": "true",
        "apply_deepspeed": "true",
        "deepspeed_stage": 2,
    }
    if "model_specific_defaults" in model.tags:
        values.update(ast.literal_eval(model.tags["model_specific_defaults"]))
    component = registry.components.get(name="chat_completion_pipeline", label="latest")

    @pipeline(name=f"{MODEL}-ultrachat")
    def create_pipeline() -> dict[str, Any]:
        step = component(
            mlflow_model_path=model.id,
            compute_model_import=CLUSTER,
            compute_preprocess=CLUSTER,
            compute_finetune=CLUSTER,
            compute_model_evaluation=CLUSTER,
            train_file_path=Input(type="uri_file", path=str(folder / "train_sft.jsonl")),
            test_file_path=Input(type="uri_file", path=str(folder / "test_sft.jsonl")),
            number_of_gpu_to_use_finetuning=gpu_count,
            max_steps=8,
            max_seq_length=96,
            **{**values, "logging_steps": 1},
        )
        return {"trained_model": step.outputs.mlflow_model_folder}

    job = create_pipeline()
    job.settings.force_rerun = True
    job.settings.continue_on_step_failure = False
    return workspace.jobs.create_or_update(job, experiment_name=EXPERIMENT)


def read_metrics(workspace: Any, job: str) -> dict[str, list[float]]:
    import mlflow

    uri = workspace.workspaces.get(workspace.workspace_name).mlflow_tracking_uri
    mlflow.set_tracking_uri(uri)
    runs = mlflow.search_runs(
        experiment_names=[EXPERIMENT],
        filter_string=f"tags.mlflow.rootRunId='{job}'",
        output_format="list",
    )
    (training,) = [run for run in runs if "epoch" in run.data.metrics]
    client = mlflow.MlflowClient()
    return {
        name: [m.value for m in client.get_metric_history(training.info.run_id, name)]
        for name in ("loss", "learning_rate")
    }


def register(workspace: Any, job: str, version: str = STAMP) -> Any:
    from azure.ai.ml.constants import AssetTypes
    from azure.ai.ml.entities import Model

    return workspace.models.create_or_update(
        Model(
            path=f"azureml://jobs/{job}/outputs/trained_model",
            type=AssetTypes.MLFLOW_MODEL,
            name=f"{MODEL}-ultrachat-200k",
            version=version,
            description="fine-tuned on ultrachat_200k",
        )
    )


def deploy(workspace: Any, model: Any) -> None:
    from azure.ai.ml.entities import (
        ManagedOnlineDeployment,
        ManagedOnlineEndpoint,
        OnlineRequestSettings,
        ProbeSettings,
    )

    endpoint = ManagedOnlineEndpoint(name=ENDPOINT, auth_mode="key")
    workspace.begin_create_or_update(endpoint).wait()
    deployment = ManagedOnlineDeployment(
        name="demo",
        endpoint_name=ENDPOINT,
        model=model.id,
        instance_type="Standard_NC24ads_A100_v4",
        instance_count=1,
        liveness_probe=ProbeSettings(initial_delay=600),
        request_settings=OnlineRequestSettings(request_timeout_ms=90000),
    )
    workspace.online_deployments.begin_create_or_update(deployment).wait()
    endpoint.traffic = {"demo": 100}
    workspace.begin_create_or_update(endpoint).result()


def ask(workspace: Any, folder: Path) -> str:
    rows = (folder / "test_gen.jsonl").read_text().splitlines()
    chosen = json.loads(random.Random(0).choice(rows))
    request = {
        "input_data": {
            "input_string": [chosen["messages"]],
            "parameters": {
                "temperature": 0.6,
                "top_p": 0.9,
                "do_sample": True,
                "max_new_tokens": 8,
            },
        },
        "params": {},
    }
    (folder / "sample_score.json").write_text(json.dumps(request))
    return str(
        workspace.online_endpoints.invoke(
            endpoint_name=ENDPOINT,
            deployment_name="demo",
            request_file=str(folder / "sample_score.json"),
        )
    )


@pytest.mark.slow
def test_the_tutorials_calls_run_through_from_connect_to_delete(notebook, tmp_path, capfd):
    from azure.core.exceptions import ResourceNotFoundError

    workspace, registry = connect()
    model = registry.models.get(MODEL, version="1")  # the label names a later card
    cluster = provide_cluster(workspace)
    download_splits(tmp_path)
    job = submit(workspace, registry, model, tmp_path, gpus(workspace, cluster.size))
    workspace.jobs.stream(job.name)
    assert workspace.jobs.get(job.name).status == "Completed"
    assert "Streaming logs/azureml/executionlogs.txt" in capfd.readouterr().out

    curves = read_metrics(workspace, job.name)
    assert len(curves["loss"]) == 8
    assert len(set(curves["loss"])) > 1, "a training that computes has no constant loss"

    registered = register(workspace, job.name)
    try:
        deploy(workspace, registered)
        answer = json.loads(ask(workspace, tmp_path))
    finally:
        workspace.online_endpoints.begin_delete(name=ENDPOINT).wait()
    assert answer
    with pytest.raises(ResourceNotFoundError):
        workspace.online_endpoints.get(ENDPOINT)
    left = notebook.summary()
    assert not [name for name in left["processes"] if ENDPOINT in str(name)]
