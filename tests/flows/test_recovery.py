"""A job that fails for a cause that passes, and what the run does about it."""

from __future__ import annotations

import uuid

import pytest

from finetuning.errors import JobFailed
from finetuning.form.results import Result
from finetuning.training.causes import ACCUMULATION, RESUME, ROWS
from flows.fine_tune import fine_tune
from tests.conftest import RunningEmulator
from tests.support.runs import names, small

pytestmark = pytest.mark.slow

FINE_TUNE = "chat_completion_finetune"
PARAMETERS = {
    "num_train_epochs": 20,
    "per_device_train_batch_size": 2,
    "learning_rate": 2e-3,
    "other": {
        "max_steps": 80,
        "max_seq_length": 96,
        "logging_steps": 1,
        "evaluation_strategy": "steps",
        "eval_steps": 4,
    },
}


def test_a_run_recovers_from_the_service_from_memory_and_from_a_lost_node(
    stage: RunningEmulator,
) -> None:
    run = small(
        uuid.uuid4().hex,
        parameters=PARAMETERS,
        recovery={"max_attempts": 4, "pause_seconds": 0},
    )
    stage.add_fault(kind="service_fails", step="chat_completion_model_import")
    stage.add_fault(kind="out_of_memory", rows=1, times=0)
    stage.add_fault(kind="node_lost", step=FINE_TUNE, after=6)
    started = stage.summary()["jobs_started"]

    result = fine_tune(run)

    assert isinstance(result, Result)
    job = names(run).job
    halved = {ROWS: 1, ACCUMULATION: 2}
    assert [(one.job, one.status, one.cause, one.changes) for one in result.attempts] == [
        (job, "Failed", "", {}),
        (f"{job}-2", "Failed", "transient", {}),
        (f"{job}-3", "Failed", "out of memory", halved),
        (f"{job}-4", "Completed", "preempted", {**halved, RESUME: "true"}),
    ]
    assert stage.summary()["jobs_started"] == started + 4
    assert result.job.name == f"{job}-4"
    assert result.parameters[ROWS] == 1
    loss = result.metrics.curves["loss"]
    assert loss[0][0] > 4  # the last attempt went on where the one before had saved
    assert loss[-1][0] == 80
    assert stage.summary()["endpoints"] == []


def test_a_cause_that_does_not_pass_is_not_paid_for_twice_nor_is_one_attempt_too_many(
    stage: RunningEmulator,
) -> None:
    started = stage.summary()["jobs_started"]
    stage.add_fault(kind="service_fails", step="chat_completion_model_import", times=0)

    with pytest.raises(JobFailed, match="ServiceError"):
        fine_tune(small(uuid.uuid4().hex, recovery={"max_attempts": 2, "pause_seconds": 0}))
    assert stage.summary()["jobs_started"] == started + 2

    stage.clear_faults()
    stage.add_fault(kind="step_fails", step=FINE_TUNE, message="the disk is full")
    with pytest.raises(JobFailed, match="the disk is full"):
        fine_tune(small(uuid.uuid4().hex))
    assert stage.summary()["jobs_started"] == started + 3
