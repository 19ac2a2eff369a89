"""``python -m benchmarks.tutorial_script LEFT.json``: the same work by hand, a call after another.

What somebody would write who follows Azure's tutorial: the plain SDK, nothing of ours between, and
every call waited for before the next. It writes its data to ``SCRIPT_FOLDER`` and leaves
when it saw the job's end.
"""

from __future__ import annotations

import ast
import json
import os
import random
import time
from pathlib import Path
from typing import Any

from benchmarks.program import arguments, leave
from benchmarks.tiny import CLUSTER, DATASET, MODEL, NEW_TOKENS, PERCENTAGE, SHORT, SIZE

SPLITS = ("train_sft", "test_sft", "train_gen", "test_gen")
COMPONENT = "chat_completion_pipeline"
DEPLOYMENT = "demo"
DEFAULTS: dict[str, Any] = {
    "num_train_epochs": 3,
    "per_device_train_batch_size": 1,
    "per_device_eval_batch_size": 1,
    "learning_rate": 5e-6,
    "lr_scheduler_type": "cosine",
    "apply_lora": "true",
    "apply_deepspeed": "true",
    "deepspeed_stage": 2,
}


def main() -> None:
    """Do it all once."""
    given = arguments("benchmarks.tutorial_script", __doc__).parse_args()
    folder, stamp = Path(os.environ["SCRIPT_FOLDER"]), str(time.time_ns() // 10**6)
    workspace, registry = clients()
    base = registry.models.get(MODEL, label="latest")
    gpus = compute(workspace)
    data(folder)
    job = submit(workspace, registry, base, folder, gpus)
    workspace.jobs.stream(job)
    ended = time.time()
    metrics(workspace, job)
    model = register(workspace, job, stamp)
    name = f"ultrachat-completion-{stamp[-8:]}"
    try:
        endpoint = create_endpoint(workspace, name)
        deploy(workspace, name, model)
        endpoint.traffic = {DEPLOYMENT: 100}
        workspace.online_endpoints.begin_create_or_update(endpoint).result()
        ask(workspace, name, folder)
    finally:
        workspace.online_endpoints.begin_delete(name=name).wait()
    leave(given.left, stream_ended=ended)


def clients() -> tuple[Any, Any]:
    """The workspace's client and the registry's."""
    from azure.ai.ml import MLClient
    from azure.identity import DefaultAzureCredential

    credential = DefaultAzureCredential()
    resource_manager = "https://" + os.environ["ARM_CLOUD_METADATA_URL"].split("/")[2]
    credential.get_token(f"{resource_manager}/.default")
    parts = ("SUBSCRIPTION_ID", "RESOURCE_GROUP", "WORKSPACE_NAME")
    names = [os.environ[f"AZURE_{part}"] for part in parts]
    return MLClient(credential, *names), MLClient(credential, registry_name="azureml")


def compute(workspace: Any) -> int:
    """See that the cluster is there; the GPUs of one of its nodes."""
    from azure.ai.ml.entities import AmlCompute
    from azure.core.exceptions import ResourceNotFoundError

    try:
        cluster = workspace.compute.get(CLUSTER)
    except ResourceNotFoundError:
        new = AmlCompute(name=CLUSTER, size=SIZE, tier="dedicated", max_instances=2)
        workspace.compute.begin_create_or_update(new).wait()
        cluster = workspace.compute.get(CLUSTER)
    listed = {size.name.lower(): size.gpus for size in workspace.compute.list_sizes()}
    return int(listed[cluster.size.lower()])


def data(folder: Path) -> None:
    """Every split's first rows as JSON Lines, by the ``datasets`` library."""
    from datasets import load_dataset

    folder.mkdir(parents=True, exist_ok=True)
    for split in SPLITS:
        rows = load_dataset(DATASET, split=f"{split}[0%:{PERCENTAGE}%]")
        rows.to_json(folder / f"{split}.jsonl")


def submit(workspace: Any, registry: Any, base: Any, folder: Path, gpus: int) -> str:
    """Upload the files and submit the pipeline job; its name."""
    from azure.ai.ml import Input
    from azure.ai.ml.dsl import pipeline

    card = ast.literal_eval(base.tags.get("model_specific_defaults", "{}"))
    component = registry.components.get(COMPONENT, label="latest")
    steps = ("model_import", "preprocess", "finetune", "model_evaluation")
    known = component.inputs
    values = {name: value for name, value in {**DEFAULTS, **card, **SHORT}.items() if name in known}

    @pipeline
    def tune() -> dict[str, Any]:
        node = component(
            mlflow_model_path=base.id,
            train_file_path=Input(type="uri_file", path=str(folder / "train_sft.jsonl")),
            test_file_path=Input(type="uri_file", path=str(folder / "test_sft.jsonl")),
            number_of_gpu_to_use_finetuning=gpus,
            **{f"compute_{step}": CLUSTER for step in steps},
            **values,
        )
        return {"trained_model": node.outputs.mlflow_model_folder}

    job: Any = tune()
    job.settings.force_rerun = True
    job.settings.continue_on_step_failure = False
    made = workspace.jobs.create_or_update(job, experiment_name=f"chat_completion_{MODEL}")
    return str(made.name)


def metrics(workspace: Any, job: str) -> None:
    """Read the loss of the job's training step."""
    import mlflow

    client = mlflow.MlflowClient(
        tracking_uri=workspace.workspaces.get(workspace.workspace_name).mlflow_tracking_uri
    )
    experiment = client.get_experiment_by_name(f"chat_completion_{MODEL}")
    runs = client.search_runs([experiment.experiment_id], f"tags.mlflow.rootRunId='{job}'")
    trained = next(run for run in runs if "epoch" in run.data.metrics)
    for name in ("loss", "learning_rate"):
        client.get_metric_history(trained.info.run_id, name)


def register(workspace: Any, job: str, stamp: str) -> str:
    """Register the job's output as a model; its id."""
    from azure.ai.ml.entities import Model

    path = f"azureml://jobs/{job}/outputs/trained_model"
    model = Model(path=path, type="mlflow_model", name=f"{MODEL}-ultrachat-200k", version=stamp)
    return str(workspace.models.create_or_update(model).id)


def create_endpoint(workspace: Any, name: str) -> Any:
    """Create the endpoint and wait for it."""
    from azure.ai.ml.entities import ManagedOnlineEndpoint

    wanted = ManagedOnlineEndpoint(name=name, auth_mode="key")
    return workspace.online_endpoints.begin_create_or_update(wanted).result()


def deploy(workspace: Any, endpoint: str, model: str) -> None:
    """Deploy the model behind the endpoint and wait for it."""
    from azure.ai.ml.entities import ManagedOnlineDeployment, OnlineRequestSettings, ProbeSettings

    wanted = ManagedOnlineDeployment(
        name=DEPLOYMENT, endpoint_name=endpoint, model=model,
        instance_type="Standard_NC24ads_A100_v4", instance_count=1,
        liveness_probe=ProbeSettings(initial_delay=600),
        request_settings=OnlineRequestSettings(request_timeout_ms=90_000),
    )  # fmt: skip
    workspace.online_deployments.begin_create_or_update(wanted).wait()


def ask(workspace: Any, endpoint: str, folder: Path) -> None:
    """Send one row of test_gen, by the SDK's own call, which takes a file."""
    with (folder / "test_gen.jsonl").open(encoding="utf-8") as lines:
        row = json.loads(random.Random(42).choice(lines.readlines()))
    sampling = {"temperature": 0.6, "top_p": 0.9, "do_sample": True, "max_new_tokens": NEW_TOKENS}
    asked = {"input_string": [row["messages"][:-1]], "parameters": sampling}
    file = folder / "request.json"
    file.write_text(json.dumps({"input_data": asked, "params": {}}), encoding="utf-8")
    workspace.online_endpoints.invoke(
        endpoint_name=endpoint, deployment_name=DEPLOYMENT, request_file=str(file)
    )


if __name__ == "__main__":
    main()
