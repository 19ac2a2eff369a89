"""A real Prefect server for a test, which fails the test that made its log show an error."""

from __future__ import annotations

import shutil
import sqlite3
import ssl
import tempfile
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import prefect
from filelock import FileLock

from deployments import local_stack
from tests.support.waiting import until

#: Servers, runners and runs look often, so that a test waits for what happens and not for a poll.
QUICK = {
    "PREFECT_SERVER_SERVICES_TRIGGERS_PROACTIVE_GRANULARITY": "1",
    "PREFECT_SERVER_SERVICES_SCHEDULER_LOOP_SECONDS": "5",
    "PREFECT_RUNNER_POLL_FREQUENCY": "2",
    "PREFECT_LOGGING_TO_API_ENABLED": "true",
    **local_stack.keep_heartbeats(),
}

#: A server that is stopped under load gives up the events that it has not written yet.
UNWRITTEN_EVENTS = "Max flush retries"
#: How much of each error a failing test shows: its first and last line say what it was.
SHOWN = 300


@contextmanager
def prefect_server(home: Path, port: int, *expected: str) -> Iterator[dict[str, str]]:
    """A server with its database in ``home``; yields the settings to reach it.

    ``expected`` are texts of errors that the test provokes.

    Raises:
        AssertionError: the server logged another error or traceback while it was up.
    """
    database = home / "prefect.db"
    if not database.exists():  # a server that comes back keeps its own
        home.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(_new_database(), database)
    with local_stack.prefect_server(home, port) as settings:
        yield settings
    assert_sound(home / "server.log", expected=expected)


def _new_database() -> Path:
    """The database of a server that has just started for the first time.

    Each server's first start takes as long for its tables as for all else, so one makes them for
    all the tests of this version of Prefect.
    """
    made = local_stack.CACHE / f"prefect-{prefect.__version__}.db"
    made.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(made.with_suffix(".lock")):
        if not made.exists():
            with tempfile.TemporaryDirectory(dir=made.parent) as folder:
                home, whole = Path(folder) / "home", Path(folder) / made.name
                with (
                    local_stack.prefect_server(home, local_stack.free_port()),
                    closing(sqlite3.connect(home / "prefect.db")) as source,
                    closing(sqlite3.connect(whole)) as target,
                ):
                    source.backup(target)
                whole.replace(made)
    return made


@contextmanager
def used_here(api: str) -> Iterator[None]:
    """Point this process and all its threads at a server, as Prefect's own test harness does."""
    from prefect import context
    from prefect.settings import PREFECT_API_URL, temporary_settings

    with (
        temporary_settings({PREFECT_API_URL: api}),
        context._temporary_global_settings_context(context.get_settings_context()),
    ):
        yield
        send_what_waits()


def send_what_waits() -> None:
    """Send the log lines and events that Prefect holds back, while their server is there."""
    from prefect.events.worker import EventsWorker
    from prefect.logging.handlers import APILogWorker
    from prefect.utilities.asyncutils import run_coro_as_sync

    async def send() -> None:
        for sending in (APILogWorker.instance().drain(), EventsWorker.drain_all()):
            if sending is not None and not isinstance(sending, bool):
                await sending

    run_coro_as_sync(send())


def assert_sound(*logs: Path, expected: tuple[str, ...] = ()) -> None:
    """Fail with the unexpected errors that the logs of a server's programs show."""
    errors = [
        f"{log.name}: {error[:SHOWN]} ... {error[-SHOWN:]}"
        for log in logs
        for error in local_stack.logged_errors(log.read_text("utf-8", "replace"))
        if not any(text in error for text in (local_stack.ONE_WRITER, UNWRITTEN_EVENTS, *expected))
    ]
    assert not errors, "\n".join(errors)


@dataclass
class Server:
    """A Prefect server in a process of its own."""

    env: dict[str, str]
    home: Path

    @property
    def api(self) -> str:
        return self.env["PREFECT_API_URL"]

    @property
    def ui(self) -> str:
        return self.api.removesuffix("/api")

    def ask(self, method: str, path: str, body: Any = None) -> Any:
        login = self.env.get("PREFECT_API_AUTH_STRING", "").split(":")
        auth = (login[0], login[1]) if len(login) == 2 else None
        verify = ssl.create_default_context(cafile=self.env.get("PREFECT_API_SSL_CERT_FILE"))
        with httpx.Client(trust_env=False, timeout=60, auth=auth, verify=verify) as http:
            for last in (False, False, False, False, False, True):
                try:
                    answer = http.request(method, f"{self.api}{path}", json=body)
                except httpx.TransportError:  # one of two servers was killed under the request
                    if last:
                        raise
                    continue
                if answer.status_code != 503:  # SQLite was locked; Prefect's client repeats too
                    break
        answer.raise_for_status()
        return answer.json() if answer.content else None

    def deployment(self, name: str) -> dict[str, Any]:
        return dict(self.ask("GET", f"/deployments/name/{name}"))

    def serves(self, name: str) -> bool:
        """Whether a runner or worker is there that would begin the deployment's runs."""
        try:
            return bool(self.deployment(name)["status"] == "READY")
        except httpx.HTTPStatusError:  # not made yet
            return False

    def trigger(self, name: str, parameters: dict[str, Any]) -> str:
        """Trigger a deployment; the flow run's id."""
        path = f"/deployments/{self.deployment(name)['id']}/create_flow_run"
        return str(self.ask("POST", path, {"parameters": parameters})["id"])

    def state(self, flow_run: str) -> str:
        return str(self.ask("GET", f"/flow_runs/{flow_run}")["state"]["type"])

    def ended(self, flow_run: str, seconds: float = 240) -> str:
        """Wait for a run to end; its last state's type."""
        final = {"COMPLETED", "FAILED", "CRASHED", "CANCELLED"}
        until(f"run {flow_run} ends", lambda: self.state(flow_run) in final, seconds)
        return self.state(flow_run)
