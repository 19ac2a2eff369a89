"""The automations on a real server: installed by one command, and they fire."""

from __future__ import annotations

import subprocess
import threading
import uuid
from collections.abc import Iterator
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from tests.conftest import run_python
from tests.deployments.conftest import Stack
from tests.support.prefect_servers import Server
from tests.support.waiting import until

pytestmark = pytest.mark.slow

INSTALLED = {
    "fine-tune: a run failed",
    "fine-tune: a run fell silent",
    "fine-tune: a run crashed",
    "fine-tune: a run was cancelled",
    "fine-tune: a suspended run's job ended",
    "fine-tune: a run was claimed and not begun",
    "fine-tune: an endpoint outlived its expiry",
    "fine-tune: the reaper failed",
    "fine-tune: over budget",
    "fine-tune: a scheduled run's model retires",
    "fine-tune: a schedule is late",
    "fine-tune: no success for long",
}

INSTALL = (
    *("-m", "deployments.automations"),
    *("--notify", "webhook/alarms", "--silent-seconds", "50"),
)
#: What events of a fine-tune's runs are related to, of which the server's own know more.
OF_A_FINE_TUNE = {
    "prefect.resource.id": "prefect.flow.of-a-test",
    "prefect.resource.role": "flow",
    "prefect.resource.name": "fine-tune",
}


class Mailbox:
    """A web server that keeps what is sent to it: where the alarms of the tests go."""

    def __init__(self) -> None:
        self.received: list[str] = []
        mailbox = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                size = int(self.headers["Content-Length"] or 0)
                mailbox.received.append(self.rfile.read(size).decode())
                self.send_response(204)
                self.end_headers()

            def log_message(self, *_: Any) -> None:
                pass

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.http.serve_forever, daemon=True).start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.http.server_port}/"

    def close(self) -> None:
        self.http.shutdown()
        self.http.server_close()


@pytest.fixture(scope="module")
def mailbox() -> Iterator[Mailbox]:
    found = Mailbox()
    yield found
    found.close()


def run_program(server: Server, *arguments: str) -> subprocess.CompletedProcess[str]:
    return run_python(server.env, *arguments, seconds=240)


@pytest.fixture(scope="module")
def installed(served: Stack, mailbox: Mailbox) -> Stack:
    """The automations, told to notify a webhook block that leads to the mailbox."""
    save = (
        "from prefect.blocks.webhook import Webhook\n"
        f"Webhook(url={mailbox.url!r}).save('alarms', overwrite=True)"
    )
    assert run_program(served.server, "-c", save).returncode == 0
    done = run_program(served.server, *INSTALL)
    assert done.returncode == 0, done.stderr
    return served


def automations(server: Server) -> dict[str, Any]:
    found = server.ask("POST", "/automations/filter", {})
    return {one["name"]: one for one in found if one["name"].startswith("fine-tune: ")}


def test_one_command_installs_them_and_repeating_it_makes_no_second(installed: Stack) -> None:
    before = automations(installed.server)

    again = run_program(installed.server, *INSTALL)

    after = automations(installed.server)
    assert set(before) == INSTALLED
    assert {name: one["id"] for name, one in after.items()} == {
        name: one["id"] for name, one in before.items()
    }
    assert "updated" in again.stdout and "created" not in again.stdout


def test_a_block_that_is_not_there_is_named(served: Stack) -> None:
    done = run_program(
        served.server, "-m", "deployments.automations", "--notify", "slack-webhook/nobody"
    )

    assert done.returncode == 1
    assert done.stderr.startswith("There is no block 'slack-webhook/nobody'.")


@pytest.mark.parametrize(
    ("api", "said"),
    [("", "No Prefect server is named."), ("http://127.0.0.1:9/api", "does not answer")],
)
def test_without_a_server_the_command_says_so(api: str, said: str) -> None:
    done = run_python({"PREFECT_API_URL": api}, "-m", "deployments.automations", seconds=240)

    assert done.returncode == 1
    assert said in done.stderr and "Traceback" not in done.stderr


def test_a_failed_run_is_told(installed: Stack, mailbox: Mailbox) -> None:
    missing = {"model": {"name": "no-such-model"}}
    flow_run = installed.server.trigger("fine-tune/run", {"run": missing})

    assert installed.server.ended(flow_run) == "FAILED"
    until("the alarm arrives", lambda: _told(mailbox, "prefect.flow-run.Failed"))


def _told(mailbox: Mailbox, words: str) -> bool:
    return any(words in one for one in mailbox.received)


def test_a_run_over_budget_is_told(installed: Stack, mailbox: Mailbox) -> None:
    emit(installed.server, "fine-tune.budget.exceeded", f"prefect.flow-run.{uuid.uuid4()}")

    until("the alarm arrives", lambda: _told(mailbox, "over budget"))


@pytest.mark.parametrize(
    ("event", "words"),
    [
        ("fine-tune.endpoint.expired", "an endpoint outlived its expiry"),
        ("prefect.flow-run.Late", "a schedule is late"),
        ("fine-tune.model.retires", "a scheduled run's model retires"),
    ],
)
def test_an_expired_endpoint_a_late_schedule_and_a_retiring_model_are_told(
    installed: Stack, mailbox: Mailbox, event: str, words: str
) -> None:
    emit(installed.server, event, f"prefect.flow-run.{uuid.uuid4()}", related=[OF_A_FINE_TUNE])

    until("the alarm arrives", lambda: _told(mailbox, words))


def test_no_success_for_long_is_told(installed: Stack, mailbox: Mailbox) -> None:
    """The longest time without a success is set to the shortest that Prefect takes."""
    short = run_program(installed.server, *INSTALL, "--success-days", str(11 / 86400))
    assert short.returncode == 0, short.stderr
    try:
        until("the alarm arrives", lambda: _told(mailbox, "no success for long"), 90)
    finally:
        assert run_program(installed.server, *INSTALL).returncode == 0


def test_a_cancelled_run_sends_the_reaper(installed: Stack) -> None:
    """A suspended run has no process that could clean up after it."""
    server = installed.server
    flow = server.ask("POST", "/flows/", {"name": "fine-tune"})
    body = {"flow_id": flow["id"], "state": {"type": "PAUSED", "name": "Suspended"}}
    run = server.ask("POST", "/flow_runs/", body)
    before = reapings(server)

    cancelled = {"state": {"type": "CANCELLED"}, "force": True}
    server.ask("POST", f"/flow_runs/{run['id']}/set_state", cancelled)

    until("the reaper was sent", lambda: reapings(server) - before, 90)


def reapings(server: Server) -> set[str]:
    """The runs that an automation made of the reaper's deployment."""
    deployment = server.deployment("reap/every-15-minutes")["id"]
    found = server.ask("POST", "/flow_runs/filter", {"deployments": {"id": {"any_": [deployment]}}})
    return {one["id"] for one in found if not one["auto_scheduled"]}


def test_a_silent_run_is_found_dead_by_the_reaper(installed: Stack) -> None:
    """A run that says Running, sent one heartbeat, and whose process does not exist."""
    server = installed.server
    flow = server.ask("POST", "/flows/", {"name": "fine-tune"})
    body = {"flow_id": flow["id"], "name": "dead", "state": {"type": "RUNNING"}}
    run = server.ask("POST", "/flow_runs/", body)

    emit(
        server,
        "prefect.flow-run.heartbeat",
        f"prefect.flow-run.{run['id']}",
        related=[OF_A_FINE_TUNE | {"prefect.resource.id": f"prefect.flow.{flow['id']}"}],
    )

    until("the run is Crashed", lambda: server.state(run["id"]) == "CRASHED", 200)
    message = server.ask("GET", f"/flow_runs/{run['id']}")["state"]["message"]
    assert "no heartbeat" in message


def emit(
    server: Server, event: str, resource: str, related: list[dict[str, str]] | None = None
) -> None:
    """Put an event on the server, as a run's process does."""
    found = {
        "id": str(uuid.uuid4()),
        "occurred": datetime.now(UTC).isoformat(),
        "event": event,
        "resource": {"prefect.resource.id": resource},
        "related": related or [],
    }
    server.ask("POST", "/events", [found])
