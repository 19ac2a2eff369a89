"""What the tests of the deployments share: a real Prefect server, and deployments served to it."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from deployments.local_stack import free_port, keep_heartbeats, running
from tests.conftest import RunningEmulator
from tests.support.prefect_servers import QUICK, Server, prefect_server
from tests.support.waiting import until


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
