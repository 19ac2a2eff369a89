"""The whole flow, with real processes: what it does, and what is left when a step fails."""

from __future__ import annotations

import uuid
from typing import Any

import pytest
from prefect.artifacts import Artifact

from finetuning.errors import AnswerError, DeploymentFailed, JobFailed
from finetuning.form.results import Result
from flows.fine_tune import fine_tune
from tests.conftest import RunningEmulator
from tests.support.runs import small

pytestmark = pytest.mark.slow

STEPS = [
    "ft_nlp_common_validation",
    "chat_completion_model_import",
    "chat_completion_datapreprocess",
    "chat_completion_finetune",
    "ft_nlp_model_converter",
]


def fresh_key() -> str:
    return uuid.uuid4().hex


def report() -> str:
    """The last run's report, as the UI shows it."""
    found = Artifact.get("report")
    assert found is not None
    return str(found.data)


def uploads(requests: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [
        one
        for one in requests
        if one["method"] == "PUT" and ".blob." in one["host"] and one["status"] < 300
    ]


def test_a_run_learns_serves_answers_and_leaves_nothing_running(stage: RunningEmulator) -> None:
    started = stage.summary()["jobs_started"]

    result = fine_tune(small(fresh_key()))

    assert isinstance(result, Result)
    assert result.metrics.loss_last is not None and result.metrics.loss_first is not None
    assert result.metrics.loss_last < result.metrics.loss_first
    evaluations = [value for _, value in result.metrics.curves["eval_loss"]]
    assert evaluations[-1] < evaluations[0]
    assert result.answers[0].answer.strip()
    assert result.answers[0].reference.strip()
    summary = stage.summary()
    assert summary["endpoints"] == []
    assert summary["deployments"] == []
    assert summary["jobs_started"] == started + 1
    told = report()
    assert told.startswith("# Completed")
    assert result.registered.version in told and "deleted" in told


def test_a_second_run_prepares_no_data_and_uploads_nothing(stage: RunningEmulator) -> None:
    fine_tune(small(fresh_key()))
    before = stage.requests()[-1]["index"]

    fine_tune(small(fresh_key()))

    later = stage.requests(after=before)
    assert uploads(later) == []
    assert [one for one in later if "/hub/" in one["path"] and "resolve" in one["path"]] == []


def test_the_same_key_submits_no_second_job(stage: RunningEmulator) -> None:
    key = fresh_key()
    first = fine_tune(small(key))
    started = stage.summary()["jobs_started"]

    second = fine_tune(small(key))

    assert second.job.name == first.job.name
    assert second.job.adopted
    assert second.registered.adopted
    assert stage.summary()["jobs_started"] == started


@pytest.mark.parametrize("step", STEPS)
def test_a_job_that_fails_says_what_its_step_said_and_leaves_no_endpoint(
    stage: RunningEmulator, step: str
) -> None:
    stage.add_fault(kind="step_fails", step=step, message="the disk of the node is full")

    with pytest.raises(JobFailed, match="the disk of the node is full") as error:
        fine_tune(small(fresh_key()))

    assert step in str(error.value)
    assert stage.summary()["endpoints"] == []


def test_a_failed_deployment_says_why_and_leaves_no_endpoint(stage: RunningEmulator) -> None:
    stage.add_fault(kind="deployment_fails", message="no capacity for this VM size")

    with pytest.raises(DeploymentFailed, match="no capacity for this VM size"):
        fine_tune(small(fresh_key()))

    summary = stage.summary()
    assert summary["endpoints"] == [] and summary["deployments"] == []
    told = report()
    assert told.startswith("# Failed: Deployment") and "no capacity for this VM size" in told
    assert "| in all | " in told and "registered" in told


def test_a_failing_test_request_says_so_and_leaves_no_endpoint(stage: RunningEmulator) -> None:
    stage.add_fault(
        kind="status", method="POST", path="/score$", status=400, times=1, message="bad request"
    )

    with pytest.raises(AnswerError, match="400"):
        fine_tune(small(fresh_key()))

    assert stage.summary()["endpoints"] == []
