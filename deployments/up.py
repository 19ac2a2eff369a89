"""``make up``: the whole system on this machine, until Ctrl-C.

An emulated Azure ML, a Prefect server, the deployments of ``prefect.yaml`` with their schedules,
the automations, and the receiver of Azure's events, by which suspended runs go on. Open the printed
address, choose fine-tune/run, press Run, and watch.
"""

from __future__ import annotations

import argparse
import os
import secrets
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import FrameType

import httpx

from deployments.automations import REAPER
from deployments.events import KEY
from deployments.local_stack import (
    ONE_WRITER,
    ROOT,
    VAR,
    NotStarted,
    PortTaken,
    await_ready,
    cause_of,
    emulator_environment,
    emulator_process,
    free_port,
    keep_heartbeats,
    logged_errors,
    prefect_process,
    prefect_settings,
    refuse_taken,
    running,
)

#: A running program: its process, and its log by the name that a person reads.
Programs = dict[str, tuple[subprocess.Popen[bytes], Path]]


def main(argv: list[str]) -> int:
    """Stay up until Ctrl-C or SIGTERM; afterwards nothing of it runs."""
    parser = argparse.ArgumentParser(
        prog="python -m deployments.up",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--port", type=int, default=4200, help="of the Prefect server")
    parser.add_argument("--home", type=Path, default=VAR / "up", help="state and logs")
    parser.add_argument("--weights", choices=["smollm2", "tiny"], default="smollm2")
    given = parser.parse_args(argv)
    stopped = threading.Event()

    def stop(_: int, __: FrameType | None) -> None:
        stopped.set()

    for one in (signal.SIGINT, signal.SIGTERM):
        signal.signal(one, stop)
    try:
        refuse_taken(given.port)
        print("Starting; a minute the first time ...", flush=True)
        stay_up(given.home.resolve(), given.port, given.weights, stopped)
    except (NotStarted, PortTaken) as error:
        print(error, file=sys.stderr)
        return 1
    return 0


def stay_up(home: Path, port: int, weights: str, stopped: threading.Event) -> None:
    """Run the whole system, say where it is, and wait for ``stopped``.

    Raises:
        NotStarted: a part of it did not come up, or ended.
    """
    home.mkdir(parents=True, exist_ok=True)
    with system(home, port, weights) as programs:
        admin = emulator_environment(home / "emulator")["EMULATOR_ADMIN_URL"]
        print(
            f"Prefect UI   http://127.0.0.1:{port}/deployments\n"
            f"emulator     {admin}/summary\n"
            f"logs         {home}\n"
            "Ctrl-C ends all of it.",
            flush=True,
        )
        told: set[str] = set()
        while not stopped.wait(1):
            for name, (process, log) in programs.items():
                if process.poll() is not None:
                    raise NotStarted(name, log)
            tell_errors(home / "prefect" / "server.log", told)


@contextmanager
def system(home: Path, port: int, weights: str) -> Iterator[Programs]:
    """The parts of the system, each ready before the next begins."""
    key, hook = secrets.token_urlsafe(24), free_port()
    webhook = f"http://127.0.0.1:{hook}/events?code={key}"
    with ExitStack() as stack:
        options = ("--weights", weights, "--event-webhook", webhook)
        azure = stack.enter_context(emulator_process(home / "emulator", *options))
        prefect = stack.enter_context(prefect_process(home / "prefect", port))
        env = {
            **emulator_environment(home / "emulator"),
            **prefect_settings(home / "prefect", port),
            **keep_heartbeats(),
            "FINETUNE_DATA": str(home / "data"),
            KEY: key,
        }

        def begin(module: str, *arguments: str) -> tuple[subprocess.Popen[bytes], Path]:
            log = home / f"{module}.log"
            argv = [sys.executable, "-m", f"deployments.{module}", *arguments]
            return stack.enter_context(running(argv, log, env)), log

        programs: Programs = {
            "The emulator": (azure, home / "emulator.log"),
            "The Prefect server": (prefect, home / "prefect" / "server.log"),
            "The receiver of events": begin("events", "--port", str(hook)),
            "The serving of deployments": begin("serve"),
        }
        served, log = programs["The serving of deployments"]
        api = env["PREFECT_API_URL"]
        await_ready(served, "The serving of deployments", log, lambda: is_served(api))
        install_automations(env, home / "automations.log")
        yield programs


def is_served(api: str) -> bool:
    """Return whether a process takes up the runs of the deployments."""
    try:
        with httpx.Client(trust_env=False, timeout=10) as http:
            answer = http.get(f"{api}/deployments/name/{REAPER}")
        return answer.is_success and answer.json()["status"] == "READY"
    except httpx.HTTPError:
        return False


def install_automations(env: Mapping[str, str], log: Path) -> None:
    """Install the automations as ``make automations`` does.

    Raises:
        NotStarted: they could not be installed.
    """
    with log.open("wb") as out:
        done = subprocess.run(
            [sys.executable, "-m", "deployments.automations"],
            cwd=ROOT,
            env={**os.environ, **env},
            stdout=out,
            stderr=subprocess.STDOUT,
            check=False,
        )
    if done.returncode != 0:
        raise NotStarted("The installation of the automations", log)


def tell_errors(log: Path, told: set[str]) -> None:
    """Print what the Prefect server logs as an error, each kind once: it still looks healthy."""
    for error in logged_errors(log.read_text(encoding="utf-8", errors="replace")):
        cause = cause_of(error)
        if cause not in told and ONE_WRITER not in error:
            told.add(cause)
            print(
                f"The Prefect server reports an error: {cause}\nAll of it: {log}", file=sys.stderr
            )


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
