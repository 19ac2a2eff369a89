"""``python -m benchmarks.tutorial_script LEFT.json``: the same work by hand, a call after another.

What somebody would write who follows Azure's tutorial: the plain SDK, nothing of ours between, and
every call waited for before the next. It writes its data and its cache to ``SCRIPT_FOLDER`` and
leaves the seconds of each step.
"""

from __future__ import annotations

import ast
import json
import os
import random
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from benchmarks.tiny import CLUSTER, MODEL, NEW_TOKENS, PERCENTAGE, SHORT, SIZE

DATASET = "HuggingFaceH4/ultrachat_200k"
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


class Steps:
    """How long each step took, in seconds, in order."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    @contextmanager
    def step(self, name: str) -> Iterator[None]:
        began = time.monotonic()
        yield
        self.seconds[name] = round(time.monotonic() - began, 2)


def main(target: Path) -> None:
    """Do it all once."""
    folder, stamp = Path(os.environ["SCRIPT_FOLDER"]), str(time.time_ns() // 10**6)
    endpoint, steps = f"ultrachat-completion-{stamp[-8:]}", Steps()
    with steps.step("connect"):
        workspace, registry = clients()
    with steps.step("model"):
        base = registry.models.get(MODEL, label="latest")
    with steps.step("compute"):
        gpus = compute(workspace)
    with steps.step("data"):
        data(folder)
    with steps.step("submit"):
        job = submit(workspace, registry, base, folder, gpus)
    with steps.step("train"):
        workspace.jobs.stream(job)
    ended = time.time()
    with steps.step("metrics"):
        metrics(workspace, job)
    with steps.step("register"):
        model = register(workspace, job, stamp)
    try:
        with steps.step("endpoint"):
            made = create_endpoint(workspace, endpoint)
        with steps.step("deploy"):
            deploy(workspace, endpoint, model)
        with steps.step("traffic"):
            made.traffic = {DEPLOYMENT: 100}
            workspace.online_endpoints.begin_create_or_update(made).result()
        with steps.step("test"):
            ask(workspace, endpoint, folder)
    finally:
        with steps.step("delete"):
            workspace.online_endpoints.begin_delete(name=endpoint).wait()
    left = {"state": "Completed", "job": job, "stream_ended": ended, "steps": steps.seconds}
    target.write_text(json.dumps(left), encoding="utf-8")


def clients() -> tuple[Any, Any]:
    """The workspace's client and the registry's."""
    from azure.ai.ml import MLClient
    from azure.identity import DefaultAzureCredential

    credential = DefaultAzureCredential()
    credential.get_token(f"{management()}/.default")
    names = [
        os.environ[f"AZURE_{one}"]
        for one in ("SUBSCRIPTION_ID", "RESOURCE_GROUP", "WORKSPACE_NAME")
    ]
    return MLClient(credential, *names), MLClient(credential, registry_name="azureml")


def management() -> str:
    """Where the resource manager of this cloud is."""
    return "https://" + os.environ["ARM_CLOUD_METADATA_URL"].split("/")[2]


def compute(workspace: Any) -> int:
    """See that the cluster is there; the GPUs of one of its nodes."""
    from azure.ai.ml.entities import AmlCompute
    from azure.core.exceptions import ResourceNotFoundError

    try:
        found = workspace.compute.get(CLUSTER)
    except ResourceNotFoundError:
        new = AmlCompute(name=CLUSTER, size=SIZE, tier="dedicated", max_instances=2)
        workspace.compute.begin_create_or_update(new).wait()
        found = workspace.compute.get(CLUSTER)
    listed = {one.name.lower(): one.gpus for one in workspace.compute.list_sizes()}
    return int(listed[found.size.lower()])


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
    from azure.ai.ml.entities import (
        ManagedOnlineDeployment,
        OnlineRequestSettings,
        ProbeSettings,
    )

    wanted = ManagedOnlineDeployment(
        name=DEPLOYMENT,
        endpoint_name=endpoint,
        model=model,
        instance_type="Standard_NC6s_v3",
        instance_count=1,
        liveness_probe=ProbeSettings(initial_delay=600),
        request_settings=OnlineRequestSettings(request_timeout_ms=90_000),
    )
    workspace.online_deployments.begin_create_or_update(wanted).wait()


def ask(workspace: Any, endpoint: str, folder: Path) -> None:
    """Send one row of test_gen, by the SDK's own call, which takes a file."""
    with (folder / "test_gen.jsonl").open(encoding="utf-8") as lines:
        row = json.loads(random.Random(42).choice(lines.readlines()))
    sampling = {"temperature": 0.6, "top_p": 0.9, "do_sample": True, "max_new_tokens": NEW_TOKENS}
    body = {
        "input_data": {"input_string": [row["messages"][:-1]], "parameters": sampling},
        "params": {},
    }
    file = folder / "request.json"
    file.write_text(json.dumps(body), encoding="utf-8")
    workspace.online_endpoints.invoke(
        endpoint_name=endpoint, deployment_name=DEPLOYMENT, request_file=str(file)
    )


if __name__ == "__main__":
    main(Path(sys.argv[1]))
