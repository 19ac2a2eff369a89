"""A process that is told to end lets its run go; a run that nobody begins again is cleaned up."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest
from prefect.client.schemas.objects import State, StateDetails, StateType
from prefect.states import Cancelling

from finetuning.azure.naming import job_name, run_key
from finetuning.form.run import FineTune
from finetuning.planning.planner import endpoint_name
from flows.reap import reap
from tests.conftest import ROOT, RunningEmulator
from tests.support.runs import endless, small
from tests.support.stage import Stage, flow_processes, kill, stage
from tests.support.waiting import until

pytestmark = pytest.mark.slow

#: How the pods of a Kubernetes work pool with backoff 0 treat SIGTERM (prefect-kubernetes sets it).
RESCHEDULE = {"PREFECT_FLOW_RUN_EXECUTE_SIGTERM_BEHAVIOR": "reschedule"}


@pytest.fixture(scope="module")
def watched(
    shared_emulator: RunningEmulator, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Stage]:
    shared_emulator.clear_faults()
    with stage(shared_emulator, tmp_path_factory.mktemp("letting-go")) as found:
        yield found
    shared_emulator.clear_faults()


def steady(steps: int = 60) -> FineTune:
    """A run that trains long enough to be interrupted, and ends by itself."""
    run = small(uuid.uuid4().hex)
    other = {**run.parameters.other, "max_steps": steps}
    parameters = run.parameters.model_copy(update={"other": other})
    return run.model_copy(update={"parameters": parameters})


def job_of(run: FineTune) -> str:
    return job_name(run_key("", run.key))


def endpoint_of(run: FineTune) -> str:
    return endpoint_name(run, run_key("", run.key))


def test_a_served_run_whose_process_is_told_to_end_goes_on_with_its_job(watched: Stage) -> None:
    run = steady()
    started = watched.emulator.summary()["jobs_started"]
    with watched.served("restarted") as runner:
        flow_run = watched.trigger("restarted", run)
        until("the job runs", lambda: watched.job(job_of(run)) == "Running")

        for process in flow_processes(runner):
            kill(process, signal.SIGTERM)

        until("the run is begun again", lambda: watched.flow_run(flow_run).run_count == 2)
        assert watched.job(job_of(run)) in ("Running", "Completed")
        state = watched.ended(flow_run)
        assert state.is_completed(), state
    assert watched.emulator.summary()["jobs_started"] == started + 1
    assert endpoint_of(run) not in watched.endpoints()


@contextmanager
def pod(watched: Stage, flow_run: UUID) -> Iterator[subprocess.Popen[bytes]]:
    """What a pod of a Kubernetes work pool runs."""
    command = [sys.executable, "-m", "prefect", "flow-run", "execute", str(flow_run)]
    env = {**os.environ, **watched.env, **RESCHEDULE}
    with (watched.folder / f"pod-{uuid.uuid4().hex}.log").open("wb") as log:
        process = subprocess.Popen(command, cwd=ROOT, env=env, stdout=log, stderr=log)
        try:
            yield process
        finally:
            process.kill()
            process.wait()


def test_an_evicted_pod_leaves_job_and_endpoint_to_the_next_one(watched: Stage) -> None:
    run = steady()
    started = watched.emulator.summary()["jobs_started"]
    with watched.served("evicted"):
        pass  # the deployment is there; nobody serves it any more
    flow_run = watched.trigger("evicted", run)
    with pod(watched, flow_run) as first:
        until("the job runs", lambda: watched.job(job_of(run)) == "Running")

        first.send_signal(signal.SIGTERM)
        first.wait(60)

    assert watched.flow_run(flow_run).state.name == "AwaitingRetry"
    assert watched.job(job_of(run)) in ("Running", "Completed")
    with pod(watched, flow_run) as second:
        state = watched.ended(flow_run)
        second.wait(60)
    assert state.is_completed(), state
    assert watched.emulator.summary()["jobs_started"] == started + 1
    assert endpoint_of(run) not in watched.endpoints()


def test_a_pod_that_is_stopped_by_a_cancellation_cleans_up(watched: Stage) -> None:
    run = endless(small(uuid.uuid4().hex))
    with watched.served("cancelled-pod") as runner:
        flow_run = watched.trigger("cancelled-pod", run)
        until("the job runs", lambda: watched.job(job_of(run)) == "Running")
        with watched.prefect() as client:
            client.set_flow_run_state(flow_run, Cancelling())

        assert watched.ended(flow_run).is_cancelled()
        assert runner.poll() is None
    until("the job is cancelled", lambda: watched.job(job_of(run)) == "Canceled", 30)
    until("the endpoint is gone", lambda: endpoint_of(run) not in watched.endpoints(), 30)


def test_a_run_that_cannot_connect_when_it_is_begun_again_cleans_up(watched: Stage) -> None:
    run = endless(small(uuid.uuid4().hex))
    with watched.served("locked-out") as runner:
        flow_run = watched.trigger("locked-out", run)
        until("the job runs", lambda: watched.job(job_of(run)) == "Running")
        watched.emulator.add_fault(
            kind="status", status=403, code="AuthorizationFailed", method="GET",
            path="/workspaces/[^/]+$", times=0,
        )  # fmt: skip

        for process in flow_processes(runner):
            kill(process, signal.SIGKILL)

        until("the run is begun again", lambda: watched.flow_run(flow_run).run_count == 2)
        state = watched.ended(flow_run)
        watched.emulator.clear_faults()
    assert state.is_failed(), state
    assert "AuthorizationFailed" in str(state.message)
    until("the job is cancelled", lambda: watched.job(job_of(run)) == "Canceled", 30)
    assert endpoint_of(run) not in watched.endpoints()


def suspend(watched: Stage, flow_run: UUID) -> None:
    """What Prefect's UI does at *Suspend*, with its own default of five minutes."""
    details = StateDetails(
        pause_timeout=datetime.now(UTC) + timedelta(minutes=5), pause_reschedule=True
    )
    state: State[None] = State(type=StateType.PAUSED, name="Suspended", state_details=details)
    with watched.prefect() as client:
        client.set_flow_run_state(flow_run, state, force=True)


def process_ended(watched: Stage, flow_run: UUID) -> bool:
    """Whether the run's process has said its last word as a suspended one."""
    return f"Execution of flow run '{flow_run}' is paused" in watched.log_of("serve")


def cancel(watched: Stage, flow_run: UUID) -> None:
    with watched.prefect() as client:
        client.set_flow_run_state(flow_run, Cancelling())


def test_an_attached_run_that_is_suspended_by_hand_leaves_its_job_and_goes_on_when_resumed(
    watched: Stage,
) -> None:
    run = steady(400)
    started = watched.emulator.summary()["jobs_started"]
    with watched.served("by-hand"):
        flow_run = watched.trigger("by-hand", run)
        until("the job runs", lambda: watched.job(job_of(run)) == "Running")
        name = watched.flow_run(flow_run).name

        suspend(watched, flow_run)

        until("its process ends", lambda: process_ended(watched, flow_run))
        assert watched.flow_run(flow_run).state_name == "Suspended"
        assert watched.job(job_of(run)) in ("Running", "Completed")
        with watched.prefect() as client:
            client.resume_flow_run(flow_run)
        state = watched.ended(flow_run)
        assert state.is_completed(), state
        assert watched.flow_run(flow_run).name == name
    assert watched.emulator.summary()["jobs_started"] == started + 1
    assert endpoint_of(run) not in watched.endpoints()


def test_an_attached_run_that_is_cancelled_before_it_is_seen_to_be_suspended_cleans_up(
    watched: Stage,
) -> None:
    run = endless(small(uuid.uuid4().hex))
    deadlines = run.deadlines.model_copy(update={"poll_seconds": 10})  # it looks long after both
    run = run.model_copy(update={"deadlines": deadlines})
    with watched.served("suspended-cancelled"):
        flow_run = watched.trigger("suspended-cancelled", run)
        until("the job runs", lambda: watched.job(job_of(run)) == "Running")
        until("the endpoint is there", lambda: endpoint_of(run) in watched.endpoints())

        suspend(watched, flow_run)
        cancel(watched, flow_run)

        assert watched.ended(flow_run).is_cancelled()
        until("the job is cancelled", lambda: watched.job(job_of(run)) == "Canceled", 60)
        until("the endpoint is gone", lambda: endpoint_of(run) not in watched.endpoints(), 60)
    assert watched.flow_run(flow_run).state_name == "Cancelled"


def test_a_run_that_is_cancelled_once_its_process_has_ended_is_left_to_the_reaper(
    watched: Stage,
) -> None:
    run = endless(small(uuid.uuid4().hex))
    with watched.served("suspended-long"):
        flow_run = watched.trigger("suspended-long", run)
        until("the job runs", lambda: watched.job(job_of(run)) == "Running")
        suspend(watched, flow_run)
        until("its process ends", lambda: process_ended(watched, flow_run))
        assert watched.job(job_of(run)) == "Running"

        cancel(watched, flow_run)

        assert watched.ended(flow_run).is_cancelled()
    with watched.here():
        reap()
    assert watched.job(job_of(run)) == "Canceled"
    assert endpoint_of(run) not in watched.endpoints()
