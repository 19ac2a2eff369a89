"""What may go wrong in a night, and must not end it; and what must end it at once."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from typing import Any

import pytest
from prefect.client.schemas.objects import State

from finetuning.azure.naming import job_name, run_key
from finetuning.form.run import FineTune
from finetuning.planning.planner import endpoint_name
from flows.fine_tune import fine_tune
from tests.conftest import RunningEmulator
from tests.support.runs import endless, small

pytestmark = pytest.mark.slow


@pytest.fixture
def night(stage: RunningEmulator) -> Iterator[FineTune]:
    """A run of its own, after which nothing of it is left."""
    run = small(uuid.uuid4().hex)
    yield run
    left = [endpoint["name"] for endpoint in stage.summary()["endpoints"]]
    assert endpoint_name(run, run_key("", run.key)) not in left


def status_of(emulator: RunningEmulator, run: FineTune) -> str | None:
    jobs = {job["name"]: job["status"] for job in emulator.summary()["jobs"]}
    return jobs.get(job_name(run_key("", run.key)))


def ended(run: FineTune) -> State[Any]:
    state: State[Any] = fine_tune(run, return_state=True)
    return state


def test_a_job_that_does_not_respond_for_a_while_is_waited_for(
    stage: RunningEmulator, night: FineTune
) -> None:
    stage.add_fault(kind="not_responding", step="chat_completion_finetune", seconds=2)
    started = stage.summary()["jobs_started"]

    state = ended(night)

    assert state.is_completed(), state
    assert stage.summary()["jobs_started"] == started + 1


def test_a_job_that_does_not_come_back_is_cancelled_and_named(
    stage: RunningEmulator, night: FineTune
) -> None:
    stage.add_fault(kind="not_responding", step="chat_completion_finetune", seconds=60)
    limits = night.deadlines.model_copy(update={"not_responding_minutes": 0.02})

    once = night.recovery.model_copy(update={"max_attempts": 1})

    state = ended(night.model_copy(update={"deadlines": limits, "recovery": once}))

    assert state.is_failed()
    assert "did not come back within 0.02 minutes and is cancelled" in str(state.message)
    assert status_of(stage, night) in ("CancelRequested", "Canceled")


@pytest.mark.parametrize("status", [401, 403, 404, 500])
def test_a_history_that_refuses_ends_no_wait(
    stage: RunningEmulator, night: FineTune, status: int
) -> None:
    stage.add_fault(kind="status", status=status, path="/runs/[^/]+/children", times=0)

    state = ended(night)

    assert state.is_completed(), state


@pytest.mark.parametrize("status", [500, 503, 429])
def test_a_login_that_is_away_for_a_while_ends_no_wait(
    stage: RunningEmulator, night: FineTune, status: int
) -> None:
    job = job_name(run_key("", night.key))
    stage.add_fault(
        kind="status", status=401, code="ExpiredAuthenticationToken", method="GET",
        path=f"/jobs/{job}$", skip=1, times=2,
    )  # fmt: skip
    stage.add_fault(kind="status", status=status, path="/msi/token", skip=2, times=4)

    state = ended(night)

    assert state.is_completed(), state


def test_an_endpoint_that_cannot_be_made_ends_the_run_while_the_job_trains(
    stage: RunningEmulator, night: FineTune
) -> None:
    stage.add_fault(
        kind="status", status=400, code="BadRequest", message="The name is taken in this region.",
        method="PUT", path="/onlineEndpoints/[^/]+$", times=0,
    )  # fmt: skip

    state = ended(endless(night))

    assert state.is_failed()
    assert "The name is taken in this region" in str(state.message)
    assert status_of(stage, night) == "Canceled"


def test_a_run_without_a_way_to_azure_fails_at_once_and_makes_nothing(
    stage: RunningEmulator, night: FineTune
) -> None:
    stage.add_fault(
        kind="status", status=403, code="AuthorizationFailed", method="GET",
        path="/workspaces/[^/]+$", times=0,
    )  # fmt: skip
    started = stage.summary()["jobs_started"]
    before = len(stage.requests())

    state = ended(night)

    assert state.is_failed()
    assert stage.summary()["jobs_started"] == started
    assert not [r for r in stage.requests(before) if r["method"] in ("PUT", "DELETE")]
