"""A run whose process dies goes on where its job is; one that nobody takes up again is reaped."""

from __future__ import annotations

import signal
import uuid
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from prefect.settings import PREFECT_FLOWS_HEARTBEAT_FREQUENCY, temporary_settings

from flows.reap import reap
from tests.conftest import RunningEmulator
from tests.support.runs import endless, names, small
from tests.support.stage import Stage, flow_processes, kill, stage
from tests.support.waiting import until

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def watched(
    shared_emulator: RunningEmulator, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Stage]:
    shared_emulator.clear_faults()
    with stage(shared_emulator, tmp_path_factory.mktemp("crashed")) as found:
        yield found


def test_a_killed_run_is_taken_up_again_and_adopts_its_job(watched: Stage) -> None:
    run = small(uuid.uuid4().hex)
    job, endpoint = names(run)
    started = watched.emulator.summary()["jobs_started"]
    with watched.served("killed") as runner:
        flow_run = watched.trigger("killed", run)
        until("the job is there", lambda: watched.job(job))

        for process in flow_processes(runner):
            kill(process, signal.SIGKILL)

        until("the run is begun again", lambda: watched.flow_run(flow_run).run_count == 2)
        state = watched.ended(flow_run)
        assert state.is_completed(), state
    assert watched.emulator.summary()["jobs_started"] == started + 1
    assert endpoint not in watched.endpoints()


def test_a_run_that_died_with_its_runner_is_reaped(watched: Stage) -> None:
    run = endless(small(uuid.uuid4().hex))
    job, endpoint = names(run)
    with watched.script(run) as process:
        until("the job runs", lambda: watched.job(job) == "Running")
        until("the endpoint is there", lambda: endpoint in watched.endpoints())
        flow_run = watched.run_of(run)
        assert flow_run is not None
        process.send_signal(signal.SIGKILL)
        process.wait(10)
    assert watched.flow_run(flow_run.id).state_name == "Running"  # the state lies

    with watched.here(), no_least_silence():
        until("its heartbeat was heard", lambda: _reaped(str(flow_run.id)), 60)

    assert watched.flow_run(flow_run.id).state_name == "Crashed"
    assert watched.job(job) == "Canceled"
    assert endpoint not in watched.endpoints()


@contextmanager
def no_least_silence() -> Iterator[None]:
    """Take the reaper's argument as it is; else it waits for one heartbeat and a half: 45 s."""
    with temporary_settings({PREFECT_FLOWS_HEARTBEAT_FREQUENCY: None}):
        yield


def _reaped(flow_run_id: str) -> bool:
    decisions = reap(silent_minutes=0.05)
    return any(one.remove for one in decisions if one.found.flow_run_id == flow_run_id)
