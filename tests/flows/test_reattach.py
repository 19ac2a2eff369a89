"""A step that is repeated adopts what its first try made, in whatever state that is."""

from __future__ import annotations

import subprocess
import sys
import uuid
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from prefect import flow

from finetuning.azure.naming import endpoint_name, job_name, run_key
from finetuning.azure.ownership import Ownership, ownership_tags
from finetuning.azure.settings import load_settings
from finetuning.errors import AnswerError, DeploymentFailed
from finetuning.form.results import Result
from finetuning.form.run import FineTune
from flows.fine_tune import fine_tune
from flows.reap import reap
from tasks.deployment import deploy_model
from tasks.endpoint import create_endpoint, delete_endpoint
from tests.conftest import RunningEmulator
from tests.flows.conftest import small
from tests.flows.watching import Stage, until
from tests.flows.watching import stage as watched_stage

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
        delete_endpoint(
            load_settings(), endpoint_name(run_key("", run.key)), owner(run), run.deadlines
        )

    removing()


def owner(run: FineTune) -> Ownership:
    key, now = run_key("", run.key), datetime.now(UTC)
    tags = ownership_tags("fine-tune", "test", key, now, timedelta(hours=1))
    return Ownership(flow_run_id="test", key=key, tags=tags)


@flow
def served_again(run: FineTune, model: str) -> str:
    """Endpoint and deployment as the fine-tune makes them, without the fine-tune."""
    name = create_endpoint(
        load_settings(), endpoint_name(run_key("", run.key)), owner(run), run.deadlines
    )
    return str(deploy_model(load_settings(), name, run.endpoint, model, owner(run), run.deadlines))


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

    assert endpoint_name(run_key("", run.key)) in [
        one["name"] for one in stage.summary()["endpoints"]
    ]


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
        endpoint = endpoint_name(run_key(str(flow_run)))
        assert endpoint not in watched.endpoints()

        retry(watched, str(flow_run))

        until("it runs again", lambda: watched.flow_run(flow_run).run_count == 2)
        assert watched.ended(flow_run).is_completed()
        assert watched.job(job_name(run_key(str(flow_run)))) == "Completed"
    assert emulator.summary()["jobs_started"] == started + 1
    assert endpoint not in watched.endpoints()


def retry(watched: Stage, flow_run_id: str) -> None:
    subprocess.run(
        [sys.executable, "-m", "prefect", "flow-run", "retry", flow_run_id],
        env={"PATH": "", **watched.env},
        check=True,
        timeout=60,
    )
