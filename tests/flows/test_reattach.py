"""A step that is repeated adopts what its first try made, in whatever state that is."""

from __future__ import annotations

import subprocess
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path
from uuid import UUID

import pytest
from prefect import flow
from prefect.client.schemas.filters import (
    ArtifactFilter,
    ArtifactFilterFlowRunId,
    ArtifactFilterKey,
)
from prefect.client.schemas.sorting import ArtifactSort

from finetuning.errors import AnswerError, DeploymentFailed
from finetuning.form.results import Result
from finetuning.form.run import FineTune
from finetuning.planning.plan import Serving
from finetuning.planning.prices import Nodes
from flows.fine_tune import fine_tune
from flows.reap import reap
from tasks.deployment import deploy_model
from tasks.endpoint import create_endpoint, delete_endpoint
from tests.conftest import RunningEmulator
from tests.support.runs import context_of, names, small
from tests.support.stage import Stage
from tests.support.stage import stage as watched_stage
from tests.support.waiting import until

pytestmark = pytest.mark.slow


def puts(emulator: RunningEmulator, after: int, path: str) -> list[str]:
    """The paths under ``path`` to which something was written since."""
    return [
        one["path"]
        for one in emulator.requests(after=after)
        if one["method"] == "PUT" and path in one["path"]
    ]


def newest(emulator: RunningEmulator) -> int:
    return int(emulator.requests()[-1]["index"])


@pytest.fixture(scope="module")
def kept(
    shared_emulator: RunningEmulator, prefect_server: None
) -> Iterator[tuple[FineTune, Result]]:
    """A run that completed and kept its endpoint, for tests that go on from there."""
    from tests.conftest import environment

    shared_emulator.clear_faults()
    run = small(uuid.uuid4().hex, endpoint={"keep": True})
    with environment(shared_emulator.env):
        result = fine_tune(run)
        assert isinstance(result, Result)
        yield run, result
        remove(run)


def remove(run: FineTune) -> None:
    @flow
    def removing() -> None:
        delete_endpoint(context_of(run), names(run).endpoint)

    removing()


@flow
def served_again(run: FineTune, model: str) -> str:
    """Endpoint and deployment as the fine-tune makes them, without the fine-tune."""
    choice = run.endpoint.model_copy(update={"instance_type": "Standard_NC24ads_A100_v4"})
    nodes = Nodes(size=choice.instance_type, count=choice.instance_count)
    serving = Serving(endpoint=names(run).endpoint, choice=choice, nodes=nodes)
    create_endpoint(context_of(run), serving.endpoint)
    return str(deploy_model(context_of(run), serving, model))


def test_a_run_with_the_same_key_adopts_everything_that_is_there(
    stage: RunningEmulator, kept: tuple[FineTune, Result]
) -> None:
    run, first = kept
    before, started = newest(stage), stage.summary()["jobs_started"]

    second = fine_tune(run)

    assert second.job.adopted and second.registered.adopted
    assert second.job.name == first.job.name
    assert stage.summary()["jobs_started"] == started
    assert puts(stage, before, "/jobs/") == []
    assert puts(stage, before, "/data/") == []
    assert puts(stage, before, "/deployments/") == []
    assert puts(stage, before, "/models/") == []


def test_a_kept_endpoint_survives_the_reaper(
    stage: RunningEmulator, kept: tuple[FineTune, Result]
) -> None:
    run, _ = kept

    reap()

    assert names(run).endpoint in [one["name"] for one in stage.summary()["endpoints"]]


def test_a_failed_deployment_is_replaced_under_its_own_name(
    stage: RunningEmulator, kept: tuple[FineTune, Result]
) -> None:
    run, first = kept
    remove(run)
    stage.add_fault(kind="deployment_fails", message="no capacity for this VM size")
    with pytest.raises(DeploymentFailed, match="no capacity"):
        served_again(run, first.registered.id)
    assert "Failed" in [one["state"] for one in stage.summary()["deployments"]]

    assert served_again(run, first.registered.id) == run.endpoint.deployment

    assert {one["state"] for one in stage.summary()["deployments"]} == {"Succeeded"}


def test_a_retried_run_goes_on_from_its_own_job(emulator: RunningEmulator, tmp_path: Path) -> None:
    run = small(uuid.uuid4().hex)
    run = run.model_copy(update={"key": None, "experiment": f"retried-{uuid.uuid4().hex}"})
    started = emulator.summary()["jobs_started"]
    with watched_stage(emulator, tmp_path) as watched, watched.served("retried"):
        emulator.add_fault(kind="status", method="POST", path="/score$", status=400, times=1)
        flow_run = watched.trigger("retried", run)
        state = watched.ended(flow_run)
        assert state.is_failed() and AnswerError.__name__ in str(state.message), state
        job, endpoint = names(run, str(flow_run))
        assert endpoint not in watched.endpoints()

        retry(watched, str(flow_run))

        until("it runs again", lambda: watched.flow_run(flow_run).run_count == 2)
        assert watched.ended(flow_run).is_completed()
        assert watched.job(job) == "Completed"
    assert emulator.summary()["jobs_started"] == started + 1
    assert endpoint not in watched.endpoints()


def test_a_retried_run_whose_job_failed_submits_another_attempt(
    emulator: RunningEmulator, tmp_path: Path
) -> None:
    run = small(uuid.uuid4().hex)
    run = run.model_copy(update={"key": None, "experiment": f"again-{uuid.uuid4().hex}"})
    started = emulator.summary()["jobs_started"]
    with watched_stage(emulator, tmp_path) as watched, watched.served("again"):
        emulator.add_fault(
            kind="step_fails", step="chat_completion_finetune", message="the node's disk is full"
        )
        flow_run = watched.trigger("again", run)
        state = watched.ended(flow_run)
        assert state.is_failed() and "the node's disk is full" in str(state.message), state
        job, endpoint = names(run, str(flow_run))

        retry(watched, str(flow_run))

        until("it runs again", lambda: watched.flow_run(flow_run).run_count == 2)
        state = watched.ended(flow_run)
        assert state.is_completed(), state
        assert (watched.job(job), watched.job(f"{job}-2")) == ("Failed", "Completed")
        assert cost_of(watched, flow_run).count("training: chat_completion_finetune") == 2
    assert emulator.summary()["jobs_started"] == started + 2
    assert endpoint not in watched.endpoints()


def cost_of(watched: Stage, flow_run: UUID) -> str:
    """The newest of the run's reports of its cost."""
    of_this_run = ArtifactFilter(
        flow_run_id=ArtifactFilterFlowRunId(any_=[flow_run]), key=ArtifactFilterKey(any_=["cost"])
    )
    with watched.prefect() as client:
        found = client.read_artifacts(artifact_filter=of_this_run, sort=ArtifactSort.CREATED_DESC)
    return str(found[0].data)


def retry(watched: Stage, flow_run_id: str) -> None:
    subprocess.run(
        [sys.executable, "-m", "prefect", "flow-run", "retry", flow_run_id],
        env={"PATH": "", **watched.env},
        check=True,
        timeout=60,
    )
