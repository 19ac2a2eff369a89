"""A run that is cancelled or stopped, however it runs: its job is cancelled, its endpoint gone."""

from __future__ import annotations

import signal
import subprocess
import sys
import uuid
from collections.abc import Iterator

import pytest

from finetuning.form.run import FineTune
from tests.conftest import RunningEmulator
from tests.support.runs import endless, names, small
from tests.support.stage import Stage, stage
from tests.support.waiting import until

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def watched(
    shared_emulator: RunningEmulator, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Stage]:
    shared_emulator.clear_faults()
    with stage(shared_emulator, tmp_path_factory.mktemp("watched")) as found:
        yield found


def long_run() -> tuple[FineTune, str, str]:
    """A run that trains for minutes, with the names of its job and endpoint."""
    run = endless(small(uuid.uuid4().hex))
    return run, *names(run)


def under_way(watched: Stage, job: str, endpoint: str) -> None:
    until("the job runs", lambda: watched.job(job) == "Running")
    until("the endpoint is there", lambda: endpoint in watched.endpoints())


def assert_nothing_runs(watched: Stage, job: str, endpoint: str) -> None:
    until("the job is cancelled", lambda: watched.job(job) == "Canceled", 30)
    until("the endpoint is gone", lambda: endpoint not in watched.endpoints(), 30)


def cancel_by_cli(watched: Stage, flow_run_id: str) -> None:
    subprocess.run(
        [sys.executable, "-m", "prefect", "flow-run", "cancel", flow_run_id],
        env={"PATH": "", **watched.env},
        check=True,
        timeout=60,
    )


def test_cancelling_a_served_run_cancels_its_job_and_deletes_its_endpoint(watched: Stage) -> None:
    run, job, endpoint = long_run()
    with watched.served("cancelled"):
        flow_run = watched.trigger("cancelled", run)
        under_way(watched, job, endpoint)

        cancel_by_cli(watched, str(flow_run))

        assert watched.ended(flow_run).is_cancelled()
        assert_nothing_runs(watched, job, endpoint)


def test_cancelling_a_plain_script_cancels_its_job_and_deletes_its_endpoint(
    watched: Stage,
) -> None:
    run, job, endpoint = long_run()
    with watched.script(run) as process:
        under_way(watched, job, endpoint)
        flow_run = watched.run_of(run)
        assert flow_run is not None

        cancel_by_cli(watched, str(flow_run.id))

        process.wait(60)
        assert_nothing_runs(watched, job, endpoint)
        state = watched.flow_run(flow_run.id).state
        assert state is not None and state.is_cancelled(), state


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM])
def test_a_script_that_is_stopped_cleans_up_first(watched: Stage, how: signal.Signals) -> None:
    run, job, endpoint = long_run()
    with watched.script(run) as process:
        under_way(watched, job, endpoint)

        process.send_signal(how)
        process.wait(60)

    assert_nothing_runs(watched, job, endpoint)
    flow_run = watched.run_of(run)
    assert flow_run is not None and flow_run.state is not None
    assert flow_run.state.is_crashed(), flow_run.state
