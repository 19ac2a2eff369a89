"""An emulator and a Prefect server on this machine, as processes with a lifetime."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

ROOT = Path(__file__).parent.parent
VAR = ROOT / "var"
CACHE = VAR / "cache"
START_WITHIN_S = 120.0


class NotStarted(RuntimeError):
    """A program did not come up; ``log`` says why."""

    def __init__(self, name: str, log: Path) -> None:
        super().__init__(name, log)
        self.name, self.log = name, log

    def __str__(self) -> str:
        tail = "\n".join(self.log.read_text(errors="replace").splitlines()[-15:])
        return f"{self.name} did not start. The end of {self.log}:\n{tail}"


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
    command = [sys.executable, "-m", "emulator", "--state", str(state), "--cache", str(CACHE)]
    log = state.parent / "emulator.log"
    log.unlink(missing_ok=True)
    with running([*command, *options], log) as process:
        _await(process, "The emulator", log, lambda: "ready" in log.read_text(errors="replace"))
        yield emulator_environment(state)


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
        NotStarted: it did not come up, for example since the port is taken.
    """
    import httpx

    settings = prefect_settings(home, port)
    log = home / "server.log"
    command = [sys.executable, "-m", "prefect", "server", "start", "--host", "127.0.0.1"]
    argv = [*command, "--port", str(port)]
    with running(argv, log, settings) as process:

        def healthy() -> bool:
            try:
                with httpx.Client(trust_env=False, timeout=2) as http:
                    return http.get(f"{settings['PREFECT_API_URL']}/health").is_success
            except httpx.HTTPError:
                return False

        _await(process, "The Prefect server", log, healthy)
        yield settings


_ERROR = re.compile(r"\| (ERROR|CRITICAL) +\||^Traceback \(most recent call last\)")
_RECORD = re.compile(r"^\d\d:\d\d:\d\d\.\d+ \| |^\d{4}-\d\d-\d\d ")


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


def _await(process: subprocess.Popen[bytes], name: str, log: Path, ready: Any) -> None:
    deadline = time.monotonic() + START_WITHIN_S
    while not ready():
        if process.poll() is not None or time.monotonic() > deadline:
            raise NotStarted(name, log)
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
