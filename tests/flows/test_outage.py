"""Services away for a while, and waits that are too long: ridden out, or ended in order."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from prefect import State

from deployments.local_stack import free_port
from finetuning.form.run import FineTune
from flows.fine_tune import fine_tune
from tests.conftest import RunningEmulator
from tests.support.prefect_servers import QUICK
from tests.support.prefect_servers import prefect_server as own_server
from tests.support.runs import endless, names, small
from tests.support.stage import Stage
from tests.support.waiting import until

pytestmark = pytest.mark.slow

#: What a run logs that could not send its events to Prefect's server.
MET = "Unable to connect to 'ws://127.0.0.1"
#: What a server logs that is stopped while a run still talks to it.
IN_THE_MIDDLE = "Cancelled via cancel scope"


def status_of(emulator: RunningEmulator, job: str) -> str | None:
    return {one["name"]: one["status"] for one in emulator.summary()["jobs"]}.get(job)


@pytest.fixture
def fresh(emulator: RunningEmulator) -> Iterator[FineTune]:
    """A run of its own, after which none of its endpoints may be there."""
    run = small(uuid.uuid4().hex)
    yield run
    assert names(run).endpoint not in [one["name"] for one in emulator.summary()["endpoints"]]


def test_a_run_outlasts_a_prefect_server_that_goes_away(
    emulator: RunningEmulator, fresh: FineTune, tmp_path: Path
) -> None:
    home, port = tmp_path / "prefect", free_port()
    started = emulator.summary()["jobs_started"]
    with own_server(home, port, IN_THE_MIDDLE) as settings:
        stage = Stage(emulator, {**emulator.env, **settings, **QUICK}, tmp_path)
        script = stage.script(fresh)
        process = script.__enter__()
        until("the job is there", lambda: stage.job(names(fresh).job))
    try:
        until("the run has met the outage", lambda: MET in stage.log_of("run"))
        assert process.poll() is None
        with own_server(home, port, IN_THE_MIDDLE):  # its log goes on in the same file
            assert process.wait(200) == 0
            flow_run = stage.run_of(fresh)
            assert flow_run is not None
            assert stage.ended(flow_run.id).is_completed()
    finally:
        script.__exit__(None, None, None)
    assert emulator.summary()["jobs_started"] == started + 1


def test_azure_away_while_the_job_trains_is_ridden_out(
    stage: RunningEmulator, fresh: FineTune
) -> None:
    job = names(fresh).job
    started = stage.summary()["jobs_started"]
    for fault in (
        {"kind": "status", "status": 503, "times": 4},
        {"kind": "status", "status": 429, "retry_after": 1, "times": 2},
        {"kind": "reset_before", "times": 3},
        {"kind": "status", "status": 401, "code": "ExpiredAuthenticationToken", "times": 2},
    ):
        stage.add_fault(method="GET", path=f"/jobs/{job}$", skip=1, **fault)

    result = fine_tune(fresh)

    assert result.job.status == "Completed"
    assert stage.summary()["jobs_started"] == started + 1


def ended(run: FineTune, seconds: float | None = None) -> State[Any]:
    limited = fine_tune.with_options(timeout_seconds=seconds) if seconds else fine_tune
    state: State[Any] = limited(run, return_state=True)
    return state


def test_a_flow_that_times_out_cancels_its_job_and_says_so(
    stage: RunningEmulator, fresh: FineTune
) -> None:
    state = ended(endless(fresh), seconds=30)

    assert state.name == "TimedOut", state
    assert "30" in str(state.message)
    assert status_of(stage, names(fresh).job) in (None, "Canceled")


def test_a_wait_past_its_deadline_cancels_the_job_and_names_the_deadline(
    stage: RunningEmulator, fresh: FineTune
) -> None:
    deadlines = fresh.deadlines.model_copy(update={"training_minutes": 0.2})
    state = ended(endless(fresh).model_copy(update={"deadlines": deadlines}))

    assert state.is_failed()
    assert "run.deadlines.training_minutes" in str(state.message)
    assert status_of(stage, names(fresh).job) == "Canceled"
