"""``make up``: everything is there until Ctrl-C, and nothing afterwards."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from deployments.local_stack import (
    ROOT,
    NotStarted,
    PortTaken,
    await_ready,
    emulator_process,
    free_port,
    logged_errors,
    prefect_server,
    prefect_settings,
)
from deployments.up import main, tell_errors
from tests.conftest import running_emulator
from tests.support.prefect_servers import Server, assert_sound
from tests.support.runs import small
from tests.support.waiting import until

pytestmark = pytest.mark.slow


def listens(port: int) -> bool:
    with socket.socket() as one:
        return one.connect_ex(("127.0.0.1", port)) == 0


@dataclass
class Up:
    """A ``make up`` that says that it is up: its process, and its Prefect server."""

    process: subprocess.Popen[bytes]
    server: Server
    port: int
    folder: Path

    def printed(self) -> str:
        return (self.folder / "out").read_text()


def begin(folder: Path, port: int, out: Path) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "deployments.up", "--weights", "tiny"]
    options = ["--port", str(port), "--home", str(folder / "up")]
    with out.open("w") as printed:
        return subprocess.Popen(
            [*command, *options],
            cwd=ROOT,
            env=dict(os.environ),
            stdout=printed,
            stderr=subprocess.STDOUT,
        )


@pytest.fixture(scope="module")
def up(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Up]:
    folder, port = tmp_path_factory.mktemp("up"), free_port()
    process = begin(folder, port, folder / "out")
    try:
        found = Up(process, Server(prefect_settings(folder, port), folder), port, folder)
        until("it says where it is", lambda: f":{port}/deployments" in found.printed(), 200)
        yield found
    finally:
        process.terminate()
        process.wait(60)


def test_the_deployments_and_the_automations_are_there(up: Up) -> None:
    assert {"fine-tune/run", "fine-tune/weekly", "plan/now"} <= names(up.server)
    assert up.server.serves("fine-tune/run")
    installed = {one["name"] for one in up.server.ask("POST", "/automations/filter", {})}
    assert "fine-tune: a suspended run's job ended" in installed
    assert len(programs_of(up.folder)) >= 4


def test_a_run_begun_here_is_the_laptops_and_the_first_line_says_what_to_press(up: Up) -> None:
    served = up.server.deployment("fine-tune/run")
    first, *rest = up.printed().splitlines()

    assert served["parameters"] == {"run": {"preset": "laptop"}}
    assert "the preset is `laptop`" in served["description"]
    assert f"open http://127.0.0.1:{up.port}" in first and "Submit" in first
    assert f"/deployments/deployment/{served['id']}/run" in "".join(rest)


def test_without_its_weights_it_says_how_to_get_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("deployments.local_stack.WEIGHTS", {"smollm2": "no_such_package"})

    with pytest.raises(SystemExit, match="lacks no-such-package: run 'make setup'"):
        main(["--port", str(free_port()), "--home", str(tmp_path / "up")])

    assert not (tmp_path / "up").exists()


def test_a_disk_without_room_is_a_sentence_and_nothing_is_started(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    there = shutil.disk_usage(tmp_path).free
    monkeypatch.setattr("deployments.up.NEEDED", there * 2)
    home = tmp_path / "not" / "there"

    assert main(["--port", str(free_port()), "--home", str(home)]) == 1

    told = capsys.readouterr()
    assert f"The disk of {home} has" in told.err and "Make room" in told.err
    assert told.out == "" and not home.exists()


@pytest.mark.parametrize("home", ["up", "another"])
def test_a_second_one_on_its_port_says_what_is_there_and_starts_nothing(
    up: Up, home: str, tmp_path: Path
) -> None:
    folder = up.folder if home == "up" else tmp_path
    second = begin(folder, up.port, tmp_path / "second")

    assert second.wait(60) == 1
    assert (tmp_path / "second").read_text() == (
        f"Port {up.port} of this machine is taken: a Prefect server with its files in "
        f"{up.folder / 'up' / 'prefect'} answers there. Stop it, or choose another port.\n"
    )
    assert not (tmp_path / "up").exists()
    assert up.process.poll() is None and up.server.serves("fine-tune/run")


def test_a_second_one_on_its_home_says_that_the_emulator_runs_there(up: Up, tmp_path: Path) -> None:
    second = begin(up.folder, free_port(), tmp_path / "second")

    assert second.wait(60) == 1
    assert "An emulator runs on" in (tmp_path / "second").read_text()
    assert up.process.poll() is None and up.server.serves("fine-tune/run")


def test_a_suspended_run_is_resumed_without_anybodys_help_and_completes(up: Up) -> None:
    run = small("of-make-up", data={"max_rows": 16}, waiting="suspended").model_dump(mode="json")

    flow_run = up.server.trigger("fine-tune/run", {"run": run})

    assert up.server.ended(flow_run) == "COMPLETED"
    states = up.server.ask("GET", f"/flow_run_states/?flow_run_id={flow_run}")
    assert "Suspended" in {one["name"] for one in states}
    assert "reports an error" not in up.printed()


def test_nothing_of_it_runs_after_it_is_interrupted(up: Up) -> None:
    up.process.send_signal(signal.SIGINT)

    assert up.process.wait(60) == 0
    assert not listens(up.port)
    until("nothing of it runs", lambda: programs_of(up.folder) == [])
    assert_sound(up.folder / "up" / "prefect" / "server.log")


def test_a_port_that_another_program_has_is_refused(tmp_path: Path) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = int(other.getsockname()[1])

        with (
            pytest.raises(PortTaken, match="another program answers there"),
            prefect_server(tmp_path / "prefect", port),
        ):
            pass

    assert not (tmp_path / "prefect").exists()


def test_a_server_that_dies_is_not_taken_for_another_ones(tmp_path: Path) -> None:
    """Ready it would be, by the other's health; but the process that was started has ended."""
    with (tmp_path / "log").open("w") as log:
        process = subprocess.Popen([sys.executable, "-c", "raise SystemExit(3)"], stdout=log)
        process.wait(30)

    with pytest.raises(NotStarted, match="The server did not start"):
        await_ready(process, "The server", tmp_path / "log", lambda: True)


def test_the_word_ready_in_another_line_is_not_the_emulators(tmp_path: Path) -> None:
    with (
        running_emulator(tmp_path / "state"),
        pytest.raises(NotStarted, match=r"An emulator runs on .* already"),
        emulator_process(tmp_path / "state"),
    ):
        pass


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
