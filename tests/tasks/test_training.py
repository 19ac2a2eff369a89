"""Submitting the pipeline job with the real SDK, several at once in one process."""

from __future__ import annotations

import uuid
from typing import Any

import pytest
from prefect import flow

from finetuning.azure import naming, ownership
from finetuning.azure.client import open_client, open_registry
from finetuning.azure.ownership import Ownership
from finetuning.azure.settings import Settings
from finetuning.form.results import Cluster, Foundation
from finetuning.form.run import StepComputes
from tasks.training import COMPONENT, submit_training

AT_ONCE = 8
SIZE = "Standard_NC24s_v3"


@pytest.fixture
def empty(settings: Settings) -> Cluster:
    """A cluster of no nodes: whatever is sent to it stays in the queue."""
    from azure.ai.ml.entities import AmlCompute

    name = f"empty-{uuid.uuid4().hex[:8]}"
    made = AmlCompute(name=name, size=SIZE, tier="dedicated", max_instances=0)
    open_client(settings).compute.begin_create_or_update(made).wait()
    return Cluster(
        name=name, size=SIZE, tier="dedicated", gpus_per_node=4, max_nodes=0, created=True
    )


def file_of(key: str) -> str:
    return f"azureml://datastores/workspaceblobstore/paths/{key}.jsonl"


@flow
def submit_all(settings: Settings, cluster: Cluster, keys: list[str]) -> None:
    """Submit a job for every key at once, each with files of its own."""
    registry = open_registry(settings)
    component = registry.components.get(COMPONENT, label="latest").version
    model = registry.models.get("Phi-3-mini-4k-instruct", label="latest")
    foundation = Foundation(name=model.name, version=model.version, id=model.id)
    futures = [
        submit_training.submit(
            settings, naming.job_name(key), key, "at-once", component, foundation, cluster,
            StepComputes(), 1, file_of(key), file_of(key), {"apply_lora": "true"},
            Ownership(flow_run_id="test", key=key, tags={ownership.KEY_TAG: key}),
        )
        for key in keys
    ]  # fmt: skip
    for future in futures:
        future.result()


def test_jobs_that_are_written_at_once_in_one_process_get_a_step_of_their_own_each(
    settings: Settings, empty: Cluster, prefect_server: None
) -> None:
    keys = [naming.run_key("", uuid.uuid4().hex) for _ in range(AT_ONCE)]

    submit_all(settings, empty, keys)

    try:
        for key in keys:
            job: Any = open_client(settings).jobs.get(naming.job_name(key))
            assert len(job.jobs) == 1
            step = next(iter(job.jobs.values()))
            assert step.inputs["train_file_path"].path == file_of(key)
            assert job.tags[ownership.KEY_TAG] == key
    finally:
        for key in keys:
            open_client(settings).jobs.begin_cancel(naming.job_name(key)).wait()
