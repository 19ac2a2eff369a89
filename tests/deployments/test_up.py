"""``make up``: everything is there until Ctrl-C, and nothing afterwards."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from deployments.local_stack import ROOT, free_port, logged_errors, prefect_settings
from deployments.up import tell_errors
from tests.support.prefect_servers import Server, assert_sound
from tests.support.waiting import until

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
            [*command, *options],
            cwd=ROOT,
            env=dict(os.environ),
            stdout=printed,
            stderr=subprocess.STDOUT,
        )
    try:
        until("it says where it is", lambda: f":{port}/deployments" in out.read_text(), 150)
        server = Server(prefect_settings(tmp_path, port), tmp_path)
        found = "fine-tune/weekly"
        until("it is served", lambda: found in names(server), 90)
        assert "reports an error" not in out.read_text()
        assert len(programs_of(tmp_path)) >= 2

        process.send_signal(signal.SIGINT)

        assert process.wait(60) == 0
        assert not listens(port)
        until("nothing of it runs", lambda: programs_of(tmp_path) == [])
        assert_sound(tmp_path / "up" / "prefect" / "server.log")
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


def test_an_error_in_the_servers_log_is_told_once(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    log = tmp_path / "server.log"
    record = "16:20:01.123 | ERROR   | prefect.server.services.scheduler - planning failed\n"
    trace = "Traceback (most recent call last):\n  File ...\nValueError: no bulk statement\n"
    log.write_text("16:20:00.000 | INFO    | uvicorn - started\n" + (record + trace) * 2)
    told: set[str] = set()

    tell_errors(log, told)
    tell_errors(log, told)

    assert capsys.readouterr().err.count("no bulk statement") == 1
    assert logged_errors(log.read_text())[0].startswith("16:20:01.123 | ERROR")
