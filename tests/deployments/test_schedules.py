"""An active schedule of ``prefect.yaml`` makes runs, and they are begun and complete."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import pytest

from deployments.local_stack import free_port, running
from tests.conftest import RunningEmulator, environment
from tests.support.databases import POSTGRES, postgres
from tests.support.prefect_servers import QUICK, Server, prefect_server
from tests.support.waiting import until

pytestmark = pytest.mark.slow

REAPER = "reap/every-15-minutes"
NO_POSTGRES = pytest.mark.skipif(not POSTGRES, reason="Debian's postgresql is not installed")


@pytest.fixture(scope="module", params=["sqlite", pytest.param("postgresql", marks=NO_POSTGRES)])
def served(
    request: pytest.FixtureRequest,
    shared_emulator: RunningEmulator,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Server]:
    """A server on the database, and the declared deployments served to it."""
    folder = tmp_path_factory.mktemp("schedules")
    with ExitStack() as stack:
        database = dict(QUICK)
        if request.param == "postgresql":
            address = stack.enter_context(postgres(folder))
            database["PREFECT_API_DATABASE_CONNECTION_URL"] = address
        stack.enter_context(environment(database))
        settings = stack.enter_context(prefect_server(folder / "prefect", free_port()))
        env = {**shared_emulator.env, **settings, "FINETUNE_DATA": str(folder / "data")}
        serve = [sys.executable, "-m", "deployments.serve"]
        stack.enter_context(running(serve, folder / "serve.log", env))
        server = Server(env, folder)
        until("the deployments are served", lambda: server.serves("refresh-data/monthly"))
        yield server


def scheduled_runs(server: Server, deployment: str) -> list[dict[str, Any]]:
    """The runs that the schedule of a deployment made, the earliest first."""
    body = {
        "flow_runs": {"deployment_id": {"any_": [deployment]}},
        "sort": "EXPECTED_START_TIME_ASC",
    }
    return [run for run in server.ask("POST", "/flow_runs/filter", body) if run["auto_scheduled"]]


@pytest.mark.timeout(360)
def test_an_active_schedule_makes_runs_that_begin_and_complete(served: Server) -> None:
    deployment = served.deployment(REAPER)
    (schedule,) = deployment["schedules"]
    assert schedule["active"]
    until("runs are planned", lambda: scheduled_runs(served, deployment["id"]))

    each_minute = {"cron": "* * * * *", "timezone": "UTC"}
    path = f"/deployments/{deployment['id']}/schedules/{schedule['id']}"
    served.ask("PATCH", path, {"schedule": each_minute})

    def completed() -> bool:
        runs = scheduled_runs(served, deployment["id"])
        return any(run["state"]["type"] == "COMPLETED" for run in runs)

    until("a scheduled run completes", completed, 240)


def test_a_schedule_made_by_the_api_is_taken(served: Server) -> None:
    deployment = served.deployment("refresh-data/monthly")
    schedule = {"schedule": {"cron": "0 5 * * *", "timezone": "UTC"}, "active": True}
    served.ask("POST", f"/deployments/{deployment['id']}/schedules", [schedule])

    until("runs are planned", lambda: scheduled_runs(served, deployment["id"]))
