"""What the tests of the deployments share: a real Prefect server, and deployments served to it."""

from __future__ import annotations

import os
import ssl
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

from deployments.local_stack import free_port, keep_heartbeats, running
from tests.conftest import RunningEmulator
from tests.support.prefect_servers import prefect_server


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


def until(what: str, true: Callable[[], Any], seconds: float = 120) -> None:
    """Wait until something is true, and fail with its name when it does not become so."""
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline, f"not within {seconds:g} s: {what}"
        time.sleep(0.2)


#: Automations, late runs and events are looked at often, so that a test need not wait long.
QUICK = {
    "PREFECT_SERVER_SERVICES_TRIGGERS_PROACTIVE_GRANULARITY": "1",
    "PREFECT_SERVER_SERVICES_SCHEDULER_LOOP_SECONDS": "5",
}


@contextmanager
def server_in(home: Path) -> Iterator[Server]:
    with prefect_server(home, free_port()) as settings:
        yield Server(settings, home)


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """One Prefect server for all tests of the deployments."""
    before = {name: os.environ.get(name) for name in QUICK}
    os.environ.update(QUICK)
    try:
        with server_in(tmp_path_factory.mktemp("prefect")) as found:
            yield found
    finally:
        for name, value in before.items():
            os.environ.pop(name) if value is None else os.environ.update({name: value})


@dataclass
class Stack:
    """A server, and the declared deployments served to it against an emulator."""

    server: Server
    emulator: RunningEmulator
    log: Path


@pytest.fixture(scope="session")
def served(
    server: Server, shared_emulator: RunningEmulator, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Stack]:
    """The declared deployments, served as ``make up`` serves them."""
    home = tmp_path_factory.mktemp("served")
    data = {"FINETUNE_DATA": str(home / "data")}
    env = {**server.env, **shared_emulator.env, **keep_heartbeats(), **data}
    command = [sys.executable, "-m", "deployments.serve"]
    with running(command, home / "serve.log", env):
        until("deployments are served", lambda: server.serves("refresh-data/monthly"))
        yield Stack(server, shared_emulator, home / "serve.log")
