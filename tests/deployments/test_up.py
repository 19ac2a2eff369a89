"""``make up``: everything is there until Ctrl-C, and nothing afterwards."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from deployments.local_stack import ROOT, free_port, prefect_settings
from tests.deployments.conftest import Server, until

pytestmark = pytest.mark.slow


def listens(port: int) -> bool:
    with socket.socket() as one:
        return one.connect_ex(("127.0.0.1", port)) == 0


def test_all_of_it_is_up_until_it_is_interrupted(tmp_path: Path) -> None:
    port, out = free_port(), tmp_path / "out"
    command = [sys.executable, "-m", "deployments.up", "--weights", "tiny"]
    options = ["--port", str(port), "--home", str(tmp_path / "up")]
    with out.open("w") as printed:
        process = subprocess.Popen(
            [*command, *options], cwd=ROOT, env=dict(os.environ), stdout=printed
        )
    try:
        until("it says where it is", lambda: f":{port}/deployments" in out.read_text(), 150)
        server = Server(prefect_settings(tmp_path, port), tmp_path)
        found = "fine-tune/weekly"
        until("it is served", lambda: found in names(server), 90)
        assert len(programs_of(tmp_path)) >= 2

        process.send_signal(signal.SIGINT)

        assert process.wait(60) == 0
        assert not listens(port)
        until("nothing of it runs", lambda: programs_of(tmp_path) == [])
    finally:
        process.terminate()
        process.wait(60)


def programs_of(folder: Path) -> list[str]:
    """The command lines, or environments, of running programs that name a folder."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            told = (process / "cmdline").read_bytes() + (process / "environ").read_bytes()
        except OSError:  # it has just ended, or is another user's
            continue
        if str(folder / "up").encode() in told:
            found.append(told.decode(errors="replace")[:200])
    return found


def names(server: Server) -> set[str]:
    found = server.ask("POST", "/deployments/filter", {})
    flows = {one["id"]: one["name"] for one in server.ask("POST", "/flows/filter", {})}
    return {f"{flows[one['flow_id']]}/{one['name']}" for one in found}
