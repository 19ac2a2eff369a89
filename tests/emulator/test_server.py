"""The program itself: its sockets, its proxy, its environment, and how it ends."""

import json
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import httpx
import pytest

from emulator.server import Taken
from tests.conftest import ROOT, running_emulator
from tests.emulator.support.in_process import SCORER, InProcess
from tests.emulator.support.waiting import until


def command(*arguments, **options):
    return subprocess.run(
        [sys.executable, "-m", "emulator", *arguments],
        cwd=ROOT, capture_output=True, text=True, timeout=30, **options,
    )  # fmt: skip


def through_proxy(env, request):
    """What the proxy answers to the first line of a request."""
    host, port = env["HTTPS_PROXY"].removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=10) as connection:
        connection.sendall(request.encode() + b"\r\nHost: x\r\n\r\n")
        return connection.recv(4096).decode()


def listening(pid):
    """The addresses on which a process listens, as the kernel has them (hexadecimal)."""
    sockets = set()
    for entry in os.scandir(f"/proc/{pid}/fd"):
        try:
            target = os.readlink(entry.path)
        except FileNotFoundError:
            continue  # closed since it was listed: it does not listen
        if target.startswith("socket:["):
            sockets.add(target[8:-1])
    tables = [Path(f"/proc/{pid}/net/{name}").read_text() for name in ("tcp", "tcp6")]
    rows = [line.split() for table in tables for line in table.splitlines()]
    return {row[1].split(":")[0] for row in rows if row[3] == "0A" and row[9] in sockets}


def test_the_proxy_leads_nowhere_but_to_the_emulator(emulator):
    env = emulator.env
    host = env["ARM_CLOUD_METADATA_URL"].split("/")[2]

    assert through_proxy(env, f"CONNECT {host}:443 HTTP/1.1").startswith("HTTP/1.1 200")
    for other in ("management.azure.com:443", f"{host}.evil.example:443", "127.0.0.1:22"):
        assert through_proxy(env, f"CONNECT {other} HTTP/1.1").startswith("HTTP/1.1 403")
    assert through_proxy(env, "GET http://example.com/ HTTP/1.1").startswith("HTTP/1.1 405")
    assert through_proxy(env, "CONNECT nonsense").startswith("HTTP/1.1 405")
    assert through_proxy(env, "HELLO").startswith("HTTP/1.1 405")


def test_a_host_on_the_allow_list_is_passed_on(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        with running_emulator(tmp_path / "state", "--allow-host", "127.0.0.1") as found:
            assert " 200 " in through_proxy(found.env, f"CONNECT 127.0.0.1:{port} HTTP/1.1")
            other.close()
            assert " 502 " in through_proxy(found.env, f"CONNECT 127.0.0.1:{port} HTTP/1.1")


@pytest.mark.skipif(sys.platform != "linux", reason="asks /proc")
def test_it_listens_on_loopback_only(emulator):
    assert listening(emulator.process.pid) == {"0100007F"}


def test_the_environment_is_printed_for_shells_and_for_programs(emulator):
    state = str(emulator.state)
    lines = command("env", "--state", state).stdout
    shell = subprocess.run(
        ["sh", "-c", f'{lines}\nprintf %s "$AZURE_SUBSCRIPTION_ID"'],
        capture_output=True, text=True, check=True,
    )  # fmt: skip

    assert json.loads(command("env", "--state", state, "--format", "json").stdout) == emulator.env
    assert shell.stdout == emulator.env["AZURE_SUBSCRIPTION_ID"]


def test_the_environment_of_no_emulator_is_an_error_in_one_sentence(tmp_path):
    answer = command("env", "--state", str(tmp_path))

    assert answer.returncode == 1
    assert str(tmp_path) in answer.stderr and "Traceback" not in answer.stderr


@pytest.mark.parametrize(
    "wrong",
    [
        ["--latency", "compute.create"],
        ["--latency", "compute.creat=1"],
        ["--profile", "slow"],
        ["--time-scale", "x"],
        ["--time-scale", "-1"],
        ["stop"],
    ],
)
def test_a_wrong_option_is_refused(tmp_path, wrong):
    answer = command("--state", str(tmp_path / "s"), *wrong)

    assert answer.returncode == 2
    assert "error" in answer.stderr and "Traceback" not in answer.stderr


def test_a_second_emulator_on_the_same_state_is_refused(emulator):
    answer = command("--state", str(emulator.state))

    assert answer.returncode == 1
    assert answer.stderr.strip() == str(Taken(emulator.state))


def test_two_emulators_have_nothing_in_common(tmp_path):
    with (
        running_emulator(tmp_path / "one") as one,
        running_emulator(tmp_path / "two") as two,
    ):
        same = {name for name in one.env if one.env[name] == two.env[name]}

    named = {"NO_PROXY", "no_proxy", "AZURE_TOKEN_CREDENTIALS"}
    assert same == {*named, "AZURE_RESOURCE_GROUP", "AZURE_WORKSPACE_NAME"}


def serving_state(state):
    """A state folder whose endpoint has a deployment that serves; with the stand-in scorer."""
    made = InProcess(state)
    made.finish(made.endpoint())
    made.finish(made.deploy(made.model()))
    made.finish(made.endpoint(traffic={"blue": 100}))
    made.cluster("half-made")
    made.close()


LAUNCHER = """
import sys
from pathlib import Path
import emulator.app
emulator.app.SCORER = Path(sys.argv.pop(1))
from emulator.__main__ import main
sys.exit(main())
"""


def launch(state):
    process = subprocess.Popen(
        [sys.executable, "-c", LAUNCHER, str(SCORER), "--state", str(state)],
        cwd=ROOT, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert process.stdout is not None
    assert "ready" in process.stdout.readline()
    return process


def summary(state):
    env = json.loads(command("env", "--state", str(state), "--format", "json").stdout)
    with httpx.Client(trust_env=False) as http:
        return http.get(f"{env['EMULATOR_ADMIN_URL']}/summary").json()


def children(pid):
    """Processes below this one, and theirs."""
    found = subprocess.run(["ps", "-eo", "pid=,ppid="], capture_output=True, text=True, check=True)
    parents = [tuple(map(int, line.split())) for line in found.stdout.splitlines()]
    below, level = set(), {pid}
    while level:
        level = {child for child, parent in parents if parent in level}
        below |= level
    return below


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGINT, signal.SIGKILL])
def test_however_it_ends_no_process_of_its_is_left_and_the_state_is(tmp_path, how):
    state = tmp_path / "state"
    serving_state(state)
    process = launch(state)
    until(lambda: summary(state)["processes"] == ["score chat-end/blue"])
    below = children(process.pid)
    process.send_signal(how)
    process.wait(20)
    process.stdout.close()
    until(lambda: not any(os.path.exists(f"/proc/{pid}") for pid in below))
    again = launch(state)
    found = until(lambda: summary(state)["processes"] and summary(state))
    again.terminate()
    again.wait(20)
    again.stdout.close()

    assert len(below) >= 2  # the supervisor and the scorer
    assert process.returncode == (-signal.SIGKILL if how == signal.SIGKILL else 0)
    assert found["deployments"] == [{"name": "blue", "state": "Succeeded"}]
    assert found["computes"] == [{"name": "half-made", "state": "Succeeded"}]
