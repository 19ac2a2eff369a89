"""A reaper that asks the wrong Prefect server removes nothing, and one failure stops nothing."""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from prefect.client.orchestration import get_client
from prefect.client.schemas.actions import VariableUpdate
from prefect.client.schemas.objects import State
from prefect.events import emit_event
from prefect.states import Crashed, Running, Scheduled

from deployments.local_stack import free_port
from finetuning.azure.naming import run_key
from finetuning.azure.ownership import (
    EXPIRES_TAG,
    SERVER_TAG,
    UNKNOWN_SERVER,
    Decision,
    ownership_tags,
)
from finetuning.errors import OrphansRemain, RemovesTooMuch, SettingsError
from flows.fine_tune import fine_tune
from flows.lifecycle import server
from flows.lifecycle.runs import Patiences, _Judge
from flows.lifecycle.server import VARIABLE, reaping_server, server_id, server_tag, server_time
from flows.reap import main, reap
from tests.conftest import RunningEmulator, run_python
from tests.support.prefect_servers import prefect_server as own_server
from tests.support.prefect_servers import send_what_waits, used_here
from tests.support.waiting import until

pytestmark = pytest.mark.slow

DAY = timedelta(days=1)


@pytest.fixture(scope="module", autouse=True)
def nothing_is_left(shared_emulator: RunningEmulator, prefect_server: None) -> Iterator[None]:
    """What these tests make is gone afterwards: other files' reapers would see a mass of it."""
    yield
    from finetuning.azure.client import open_client
    from finetuning.azure.settings import load_settings
    from tests.conftest import environment

    shared_emulator.clear_faults()
    with environment(shared_emulator.env):
        client = open_client(load_settings())
        for one in client.online_endpoints.list():
            if str(one.name).startswith("others-"):
                client.online_endpoints.begin_delete(str(one.name)).wait()


def endpoint(tags: dict[str, str]) -> str:
    """Make an endpoint with these tags, by the SDK; return its name."""
    from azure.ai.ml.entities import ManagedOnlineEndpoint

    from finetuning.azure.client import open_client
    from finetuning.azure.settings import load_settings

    name = f"others-{uuid.uuid4().hex[:12]}"
    made = ManagedOnlineEndpoint(name=name, auth_mode="key", tags=tags)
    open_client(load_settings()).online_endpoints.begin_create_or_update(made).wait()
    return name


def tags_of(flow_run_id: str, **options: Any) -> dict[str, str]:
    given = {"server": server_id(), **options}
    key = run_key(flow_run_id, None)
    return ownership_tags("fine-tune", flow_run_id, key, datetime.now(UTC), DAY, **given)


def run_in(state: State[Any], **parameters: Any) -> str:
    with get_client(sync_client=True) as client:
        run = client.create_flow_run(fine_tune, parameters={"run": parameters})
        client.set_flow_run_state(run.id, state, force=True)
    return str(run.id)


def state_of(flow_run_id: str) -> str | None:
    with get_client(sync_client=True) as client:
        return client.read_flow_run(uuid.UUID(flow_run_id)).state_name


def there(stage: RunningEmulator) -> list[str]:
    return [one["name"] for one in stage.summary()["endpoints"]]


def decided(decisions: list[Decision], name: str) -> Decision:
    return next(one for one in decisions if one.found.name == name)


def looks(request: dict[str, Any]) -> bool:
    """Whether the request is more than an earlier test's operation that is still followed."""
    return "mfeOperation" not in request["path"]


def test_without_a_server_the_reaper_looks_at_nothing_and_says_so(
    azure_env: RunningEmulator, tmp_path: Path
) -> None:
    after = max((one["index"] for one in azure_env.requests()), default=-1)
    env = {**azure_env.env, "PREFECT_API_URL": "", "PREFECT_HOME": str(tmp_path)}

    done = run_python(env, "-m", "flows.reap", seconds=120)

    assert done.returncode == 1
    assert done.stderr.startswith("No Prefect server is named.")
    assert [one["path"] for one in azure_env.requests(after) if looks(one)] == []
    assert not (tmp_path / "prefect.db").exists()


def test_with_a_server_that_does_not_answer_it_looks_at_nothing(
    azure_env: RunningEmulator, tmp_path: Path
) -> None:
    api = f"http://127.0.0.1:{free_port()}/api"
    env = {**azure_env.env, "PREFECT_API_URL": api, "PREFECT_HOME": str(tmp_path)}

    done = run_python(env, "-m", "flows.reap", seconds=120)

    assert done.returncode == 1
    assert done.stderr.startswith(f"The Prefect server {api} does not answer")


def test_another_servers_reaper_leaves_a_living_run_and_a_dead_one_alone(
    stage: RunningEmulator, tmp_path: Path
) -> None:
    alive, dead = endpoint(tags_of(run_in(Running()))), endpoint(tags_of(run_in(Crashed())))
    past = (datetime.now(UTC) - DAY).isoformat(timespec="seconds")
    late = endpoint({**tags_of(run_in(Crashed())), EXPIRES_TAG: past})
    mine = server_id()

    with (
        own_server(tmp_path / "prefect", free_port()) as other,
        used_here(other["PREFECT_API_URL"]),
    ):
        assert server_id() != mine
        decisions = reap(removes_many=True)

    assert {alive, dead, late} <= set(there(stage))
    assert mine in decided(decisions, alive).why
    assert decided(decisions, late).expired
    reap()
    assert alive in there(stage)
    assert dead not in there(stage) and late not in there(stage)


def test_what_an_unknown_run_left_stays_until_its_expiry_and_is_reported(
    stage: RunningEmulator,
) -> None:
    before = tags_of(str(uuid.uuid4()))
    old = {name: value for name, value in before.items() if name != SERVER_TAG}
    past = (datetime.now(UTC) - timedelta(minutes=1)).isoformat(timespec="seconds")
    stays, stays_too = endpoint(before), endpoint(old)
    goes = endpoint({**old, EXPIRES_TAG: past})

    decisions = reap()

    assert {stays, stays_too} <= set(there(stage)) and goes not in there(stage)
    assert decided(decisions, stays_too).unclear
    assert "is not known here" in decided(decisions, stays).why


def test_what_a_lost_server_owned_goes_at_its_expiry_once_it_is_named(
    stage: RunningEmulator,
) -> None:
    lost = uuid.uuid4().hex
    past = (datetime.now(UTC) - timedelta(minutes=1)).isoformat(timespec="seconds")
    young = endpoint(tags_of(str(uuid.uuid4()), server=lost))
    late = endpoint({**tags_of(str(uuid.uuid4()), server=lost), EXPIRES_TAG: past})

    assert main([]) == 0
    assert {young, late} <= set(there(stage))
    assert main(["--lost-server", lost]) == 0

    assert young in there(stage) and late not in there(stage)


def test_removing_what_many_runs_left_takes_a_word(stage: RunningEmulator) -> None:
    dead = {endpoint(tags_of(run_in(Crashed()))) for _ in range(12)}

    with pytest.raises(RemovesTooMuch, match=r"NOTHING WAS REMOVED.*removes_many=true"):
        reap()

    assert dead <= set(there(stage))
    assert main([]) == 1
    assert dead <= {one.found.name for one in reap(dry_run=True) if one.remove}
    assert main(["--removes-many"]) == 0
    assert not dead & set(there(stage))


def test_all_who_ask_a_new_server_at_once_agree_on_its_id(
    tmp_path: Path, prefect_server: None
) -> None:
    with (
        own_server(tmp_path / "prefect", free_port()) as settings,
        used_here(settings["PREFECT_API_URL"]),
        ExitStack() as stack,
        ThreadPoolExecutor(4) as pool,
    ):
        clients = [stack.enter_context(get_client(sync_client=True)) for _ in range(4)]
        told = set(pool.map(server._agreed, clients))

        assert told == {server_id()}
        assert uuid.UUID(told.pop())


@pytest.mark.parametrize("value", ["", " " * 200, UNKNOWN_SERVER, 7, {"id": "x"}, None])
def test_a_variable_that_cannot_be_an_id_stops_the_reaper_and_no_run(
    stage: RunningEmulator, value: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    mine = server_id()
    monkeypatch.setattr(server, "_known", {})
    with get_client(sync_client=True) as client:
        client.update_variable(VariableUpdate(name=VARIABLE, value=value))
        try:
            with pytest.raises(SettingsError, match=VARIABLE):
                reaping_server()
            assert server_tag() == UNKNOWN_SERVER
        finally:
            client.update_variable(VariableUpdate(name=VARIABLE, value=mine))
    assert server_id() == mine


def test_a_tag_is_written_though_the_server_is_away_and_the_next_time_it_is_asked_again(
    prefect_server: None,
) -> None:
    with used_here(f"http://127.0.0.1:{free_port()}/api"):
        assert server_tag() == UNKNOWN_SERVER

    assert server_tag() == server_id() != UNKNOWN_SERVER


def test_an_endpoint_that_vanishes_while_it_is_looked_at_stops_nothing(
    stage: RunningEmulator,
) -> None:
    dead, odd = endpoint(tags_of(run_in(Crashed()))), endpoint(tags_of(run_in(Running())))
    for status in (404, 403):
        stage.add_fault(
            kind="status", method="GET", path=f"{odd}/deployments", status=status, times=1
        )
        decisions = reap(dry_run=True)
        assert decided(decisions, odd).found.nodes == 0

    stage.add_fault(kind="status", method="GET", path=f"{odd}/deployments", status=403, times=0)
    reap()

    assert dead not in there(stage) and odd in there(stage)


@pytest.mark.parametrize("listing", ["/jobs", "/onlineEndpoints"])
def test_a_list_that_is_refused_is_told_and_the_other_is_reaped(
    stage: RunningEmulator, listing: str
) -> None:
    dead = endpoint(tags_of(run_in(Crashed())))
    stage.add_fault(kind="status", method="GET", path=f"{listing}$", status=403, times=0)

    with pytest.raises(OrphansRemain, match=r"the list of (jobs|endpoints)"):
        reap()

    stage.clear_faults()
    assert (dead in there(stage)) == (listing == "/onlineEndpoints")
    reap()
    assert dead not in there(stage)


def test_a_deletion_that_fails_does_not_keep_the_others(stage: RunningEmulator) -> None:
    stays, goes = endpoint(tags_of(run_in(Crashed()))), endpoint(tags_of(run_in(Crashed())))
    stage.add_fault(kind="status", method="DELETE", path=stays, status=403, times=0)

    with pytest.raises(OrphansRemain, match=stays):
        reap()

    assert stays in there(stage) and goes not in there(stage)
    stage.clear_faults()
    reap()
    assert stays not in there(stage)


def beat(flow_run_id: str, occurred: datetime) -> None:
    """A heartbeat, dated by the clock of the run's worker."""
    emit_event(
        event="prefect.flow-run.heartbeat",
        resource={"prefect.resource.id": f"prefect.flow-run.{flow_run_id}"},
        occurred=occurred,
    )


@pytest.mark.parametrize("wrong", [timedelta(minutes=-20), timedelta(0), timedelta(minutes=20)])
def test_a_worker_is_silent_since_the_server_last_heard_it_whatever_its_clock_says(
    stage: RunningEmulator, wrong: timedelta
) -> None:
    run_id = run_in(Running())
    beat(run_id, datetime.now(UTC) + wrong)
    send_what_waits()
    with get_client(sync_client=True) as client:
        run = client.read_flow_run(uuid.UUID(run_id))

        def judge(now: datetime, silent: timedelta) -> _Judge:
            return _Judge(client, Patiences(silent, silent, silent), now, dry_run=True)

        asked = judge(server_time(client), DAY)
        (heard,) = until("the heartbeat is there", lambda: asked._heartbeats(run))
        assert run.state is not None and heard > run.state.timestamp
        now = heard + timedelta(minutes=3)
        since_it_began = now - run.state.timestamp
        between = (timedelta(minutes=3) + since_it_began) / 2

        assert judge(now, between)._silence(run) is None
        assert judge(now, timedelta(minutes=2))._silence(run) == timedelta(minutes=3)


def test_a_reapers_own_clock_does_not_count(stage: RunningEmulator) -> None:
    """The process reaps as on a machine that is two days ahead: nothing is expired or silent."""
    alive = endpoint(tags_of(run_in(Running())))
    unknown = endpoint(tags_of(str(uuid.uuid4())))

    done = run_python({**os.environ, "PREFECT_API_URL": api()}, "-c", AHEAD, seconds=180)

    assert done.returncode == 0, done.stderr
    assert {alive, unknown} <= set(there(stage))


def api() -> str:
    from prefect.settings import get_current_settings

    return str(get_current_settings().api.url)


#: A clock of its own for the modules that decide about runs.
AHEAD = """
import datetime as real, sys
import finetuning.azure.ownership, flows.lifecycle.runs, flows.lifecycle.server, flows.reap

class Ahead(real.datetime):
    @classmethod
    def now(cls, tz=None):
        return super().now(tz) + real.timedelta(days=2)

for module in list(sys.modules.values()):
    if module.__name__.startswith(("flows.", "finetuning.", "tasks.")):
        if getattr(module, "datetime", None) is real.datetime:
            module.datetime = Ahead
sys.exit(flows.reap.main([]))
"""


def test_a_run_that_waits_for_a_busy_worker_lives_on(stage: RunningEmulator) -> None:
    due = datetime.now(UTC) - timedelta(minutes=30)
    waits = endpoint(tags_of(run_in(Scheduled(scheduled_time=due))))

    reap(silent_minutes=1.5)  # as the automation calls it
    assert waits in there(stage)
    reap(silent_minutes=1.5, waiting_minutes=20)

    assert waits not in there(stage)


def test_a_run_that_nobody_took_up_is_not_begun_after_its_leftovers_went(
    stage: RunningEmulator,
) -> None:
    due = datetime.now(UTC) - timedelta(hours=2)
    run = run_in(Scheduled(scheduled_time=due))
    endpoint(tags_of(run))

    reap()

    assert state_of(run) == "Crashed"
