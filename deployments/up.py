"""``make up``: the whole system on this machine, until Ctrl-C.

An emulated Azure ML, a Prefect server, the deployments of ``prefect.yaml`` with their schedules,
the automations, and the receiver of Azure's events, by which suspended runs go on. Open the printed
address, press Submit, and watch: the deployments have the preset ``laptop``, two minutes of work.
"""

from __future__ import annotations

import argparse
import errno
import os
import secrets
import shutil
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
    need_emulator,
    prefect_process,
    prefect_settings,
    refuse_taken,
    running,
)

#: A running program: its process, and its log by the name that a person reads.
Programs = dict[str, tuple[subprocess.Popen[bytes], Path]]
#: Bytes that a first start and some runs write: weights, models, logs, a database.
NEEDED = 3_000_000_000
#: What the deployments of this stack have where a run names no preset.
PRESET = "laptop"
RUN = "fine-tune/run"


def main(argv: list[str], program: str = "python -m deployments.up") -> int:
    """Stay up until Ctrl-C or SIGTERM; afterwards nothing of it runs."""
    parser = argparse.ArgumentParser(
        prog=program,
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--port", type=int, default=4200, help="of the Prefect server")
    parser.add_argument("--home", type=Path, default=VAR / "up", help="state and logs")
    parser.add_argument("--weights", choices=["smollm2", "tiny"], default="smollm2")
    given = parser.parse_args(argv)
    need_emulator(given.weights)
    try:
        refuse_taken(given.port)
        refuse_full(given.home)
        print(
            f"In a minute, open http://127.0.0.1:{given.port}: Deployments, fine-tune/run, Run, "
            "Custom run, Submit.\nStarting ...",
            flush=True,
        )
        stay_up(given.home.resolve(), given.port, given.weights, asked_to_stop())
    except (NotStarted, PortTaken, NoSpace) as error:
        print(error, file=sys.stderr)
        return 1
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        print(NoSpace(given.home, free_bytes(given.home)), file=sys.stderr)
        return 1
    return 0


def asked_to_stop() -> threading.Event:
    """Return what is set by Ctrl-C or SIGTERM."""
    stopped = threading.Event()

    def stop(_: int, __: FrameType | None) -> None:
        stopped.set()

    for one in (signal.SIGINT, signal.SIGTERM):
        signal.signal(one, stop)
    return stopped


class NoSpace(RuntimeError):
    """There is no room for what would be written."""

    def __init__(self, home: Path, free: int) -> None:
        super().__init__(home, free)
        self.home, self.free = home, free

    def __str__(self) -> str:
        return (
            f"The disk of {self.home} has {self.free / 1e9:.1f} GB left; weights, data and logs "
            f"need {NEEDED / 1e9:.0f}. Make room, or choose another folder with --home."
        )


def refuse_full(home: Path) -> None:
    """Refuse a disk on which there is no room.

    Raises:
        NoSpace: says how much there is.
    """
    free = free_bytes(home)
    if free < NEEDED:
        raise NoSpace(home, free)


def free_bytes(home: Path) -> int:
    """Return the bytes that are free where a folder is, or would be made."""
    place = next(one for one in (home.resolve(), *home.resolve().parents) if one.exists())
    return shutil.disk_usage(place).free


def stay_up(home: Path, port: int, weights: str, stopped: threading.Event) -> None:
    """Run the whole system, say where it is, and wait for ``stopped``.

    Raises:
        NotStarted: a part of it did not come up, or ended.
    """
    home.mkdir(parents=True, exist_ok=True)
    with system(home, port, weights) as programs:
        admin = emulator_environment(home / "emulator")["EMULATOR_ADMIN_URL"]
        print(
            f"press Submit {form_of_run(port)}\n"
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
            "The serving of deployments": begin("serve", "--preset", PRESET),
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


def form_of_run(port: int) -> str:
    """Return the address of the form by which a fine-tune is begun."""
    with httpx.Client(trust_env=False, timeout=10) as http:
        answer = http.get(f"http://127.0.0.1:{port}/api/deployments/name/{RUN}")
    return f"http://127.0.0.1:{port}/deployments/deployment/{answer.raise_for_status().json()['id']}/run"


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
