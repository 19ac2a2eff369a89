"""Submitting the pipeline job with the real SDK, several at once in one process."""

from __future__ import annotations

import uuid
from typing import Any

import pytest
from prefect import flow

from finetuning.azure.client import open_client, open_registry
from finetuning.azure.ownership import KEY_TAG
from finetuning.azure.settings import Settings
from finetuning.form.results import Foundation
from finetuning.form.run import FineTune
from finetuning.planning.plan import Plan
from tasks.training import submit_training
from tests.support.plans import plan_of
from tests.support.runs import context_of, names

AT_ONCE = 8
SIZE = "Standard_NC24ads_A100_v4"


@pytest.fixture
def empty(settings: Settings) -> str:
    """A cluster of no nodes: whatever is sent to it stays in the queue."""
    from azure.ai.ml.entities import AmlCompute

    name = f"empty-{uuid.uuid4().hex[:8]}"
    made = AmlCompute(name=name, size=SIZE, tier="dedicated", max_instances=0)
    open_client(settings).compute.begin_create_or_update(made).wait()
    return name


def files_of(run: FineTune) -> dict[str, str]:
    file = f"azureml://datastores/workspaceblobstore/paths/{run.key}.jsonl"
    return {"train_sft": file, "test_sft": file}


def planned(settings: Settings, run: FineTune) -> Plan:
    registry = open_registry(settings)
    component = registry.components.get("chat_completion_pipeline", label="latest")
    model = registry.models.get("Phi-4", label="latest")
    foundation = Foundation(name=model.name, version=model.version, id=model.id)
    return plan_of(run, component=str(component.version), model=foundation)


@flow
def submit_all(settings: Settings, cluster: str, runs: list[FineTune]) -> None:
    """Submit a job for every run at once, each with files of its own."""
    futures = [
        submit_training.submit(context_of(run), planned(settings, run), cluster, files_of(run))
        for run in runs
    ]
    for future in futures:
        future.result()


def test_jobs_that_are_written_at_once_in_one_process_get_a_step_of_their_own_each(
    settings: Settings, empty: str, prefect_server: None
) -> None:
    runs = [FineTune(key=uuid.uuid4().hex) for _ in range(AT_ONCE)]

    submit_all(settings, empty, runs)

    try:
        for run in runs:
            job: Any = open_client(settings).jobs.get(names(run).job)
            assert len(job.jobs) == 1
            step = next(iter(job.jobs.values()))
            assert step.inputs["train_file_path"].path == files_of(run)["train_sft"]
            assert job.tags[KEY_TAG] == context_of(run).owner.key
    finally:
        for run in runs:
            open_client(settings).jobs.begin_cancel(names(run).job).wait()
