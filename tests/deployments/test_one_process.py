"""Two processes of one flow run: one does the work, the other changes nothing."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

import pytest
from prefect.states import AwaitingRetry, Completed, Crashed, Pending, Running, State, Suspended

from deployments.local_stack import ROOT, running
from flows.lifecycle.single_owner import owning_state
from tests.support.prefect_servers import Server
from tests.support.waiting import until


def running_state() -> State[None]:
    """A Running state with an id, as the server gives one to each."""
    return Running(id=uuid4())


def test_who_began_a_run_first_owns_it() -> None:
    first, second = running_state(), running_state()

    assert owning_state([Pending(), AwaitingRetry(), Pending(), first, second]) == first.id


def test_who_takes_up_a_crashed_run_owns_it() -> None:
    first, second = running_state(), running_state()

    assert owning_state([Pending(), first, Crashed(), AwaitingRetry(), Pending()]) == first.id
    history = [Pending(), first, Crashed(), AwaitingRetry(), Pending(), second, Completed()]
    assert owning_state(history) == second.id


def test_who_begins_a_run_that_has_ended_meanwhile_does_not_own_it() -> None:
    first, late = running_state(), running_state()
    offered_twice = [Pending(), AwaitingRetry(), Pending()]

    assert owning_state([*offered_twice, first, Completed(), late]) == first.id


def test_a_retry_in_the_owners_process_and_a_resumed_run_have_owners() -> None:
    first, again = running_state(), running_state()

    for between in (AwaitingRetry(), Suspended()):
        assert owning_state([Pending(), first, between, again]) == again.id


def test_a_run_that_nobody_began_has_no_owner() -> None:
    assert owning_state([AwaitingRetry(), Pending()]) is None


@dataclass
class Offered:
    """A deployment of the counted flow, and processes that run one of its runs."""

    server: Server
    home: Path
    env: dict[str, str]

    def trigger(self) -> str:
        """A run that ends once it is released."""
        parameters = {"number": 1, "released_by": str(self.home / "released")}
        return self.server.trigger("fine-tune/two-processes", parameters)

    def release(self) -> None:
        (self.home / "released").touch()

    @contextmanager
    def process(self, flow_run: str, name: str) -> Iterator[subprocess.Popen[bytes]]:
        argv = [sys.executable, "-m", "prefect", "flow-run", "execute", flow_run]
        with running(argv, self.log(name), self.env) as found:
            yield found

    def log(self, name: str) -> Path:
        return self.home / f"{name}.log"

    def lines(self, flow_run: str) -> list[str]:
        counted = self.home / "counted"
        found = counted.read_text().splitlines() if counted.exists() else []
        return [line.split()[0] for line in found if line.endswith(flow_run)]


@pytest.fixture
def offered(server: Server, tmp_path: Path) -> Offered:
    env = {**server.env, "COUNTED": str(tmp_path / "counted")}
    pool = f"two-processes-{tmp_path.name}"
    server.ask("POST", "/work_pools/", {"name": pool, "type": "process"})
    program = (
        "from prefect import flow\n"
        f"flow.from_source({str(ROOT)!r}, 'tests/deployments/counted.py:counted')"
        f".deploy('two-processes', work_pool_name={pool!r}, build=False, push=False)\n"
    )
    with running([sys.executable, "-c", program], tmp_path / "deployed.log", env) as deploying:
        assert deploying.wait(120) == 0, (tmp_path / "deployed.log").read_text()
    return Offered(server, tmp_path, env)


@pytest.mark.slow
def test_a_run_that_is_begun_elsewhere_is_left_alone(offered: Offered) -> None:
    flow_run = offered.trigger()
    with offered.process(flow_run, "first") as first:
        until("the first has begun", lambda: offered.lines(flow_run))

        with offered.process(flow_run, "second") as second:
            assert second.wait(120) == 0, offered.log("second").read_text()

        assert "Another process has begun this run" in offered.log("second").read_text()
        offered.release()
        assert first.wait(120) == 0, offered.log("first").read_text()
    assert offered.lines(flow_run) == ["begun", "ended"]
    assert offered.server.state(flow_run) == "COMPLETED"


@pytest.mark.slow
def test_a_run_that_has_ended_stays_as_it_ended(offered: Offered) -> None:
    flow_run = offered.trigger()
    offered.release()
    for name in ("first", "late"):
        with offered.process(flow_run, name) as process:
            assert process.wait(120) == 0, offered.log(name).read_text()

    assert "Another process has begun this run" in offered.log("late").read_text()
    assert offered.lines(flow_run) == ["begun", "ended"]
    assert offered.server.state(flow_run) == "COMPLETED"


@pytest.mark.slow
def test_a_process_whose_run_was_taken_up_elsewhere_ends_and_changes_nothing(
    offered: Offered,
) -> None:
    flow_run = offered.trigger()
    with offered.process(flow_run, "first") as first:
        until("the first has begun", lambda: offered.lines(flow_run))
        for state in ({"type": "CRASHED"}, {"type": "SCHEDULED", "name": "AwaitingRetry"}):
            body = {"state": state, "force": True}
            offered.server.ask("POST", f"/flow_runs/{flow_run}/set_state", body)

        with offered.process(flow_run, "second") as second:
            assert first.wait(120) == 0, offered.log("first").read_text()
            assert "taken up by another process" in offered.log("first").read_text()
            offered.release()
            assert second.wait(120) == 0, offered.log("second").read_text()
    assert offered.lines(flow_run) == ["begun", "begun", "ended"]
    assert offered.server.state(flow_run) == "COMPLETED"
