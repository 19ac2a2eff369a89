"""``make up``: emulator, Prefect server and served deployments, until Ctrl-C.

Open the printed address, choose fine-tune/weekly, press Run, and watch.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
import threading
from pathlib import Path
from types import FrameType

from deployments.local_stack import (
    VAR,
    NotStarted,
    emulator,
    keep_heartbeats,
    logged_errors,
    prefect_server,
    running,
)


def main(argv: list[str]) -> int:
    """Stay up until Ctrl-C or SIGTERM; afterwards nothing of it runs."""
    parser = argparse.ArgumentParser(prog="python -m deployments.up", description=__doc__)
    parser.add_argument("--port", type=int, default=4200, help="of the Prefect server")
    parser.add_argument("--home", type=Path, default=VAR / "up", help="state and logs")
    parser.add_argument("--weights", choices=["smollm2", "tiny"], default="smollm2")
    given = parser.parse_args(argv)
    stopped = threading.Event()

    def stop(_: int, __: FrameType | None) -> None:
        stopped.set()

    for one in (signal.SIGINT, signal.SIGTERM):
        signal.signal(one, stop)
    given.home.mkdir(parents=True, exist_ok=True)
    print("Starting; a minute the first time ...", flush=True)
    try:
        stay_up(given.home.resolve(), given.port, given.weights, stopped)
    except NotStarted as error:
        print(error, file=sys.stderr)
        return 1
    return 0


def stay_up(home: Path, port: int, weights: str, stopped: threading.Event) -> None:
    """Run all three, say where they are, and wait for one of them to end or for ``stopped``."""
    serve = [sys.executable, "-m", "deployments.serve"]
    with (
        emulator(home / "emulator", "--weights", weights) as azure,
        prefect_server(home / "prefect", port) as prefect,
        running(
            serve,
            home / "serve.log",
            {
                **os.environ,
                **azure,
                **prefect,
                **keep_heartbeats(),
                "FINETUNE_DATA": str(home / "data"),
            },
        ) as served,
    ):
        print(
            f"Prefect UI   http://127.0.0.1:{port}/deployments\n"
            f"emulator     {azure['EMULATOR_ADMIN_URL']}/summary\n"
            f"logs         {home}\n"
            "Ctrl-C ends all of it.",
            flush=True,
        )
        told: set[str] = set()
        while not stopped.wait(1):
            if served.poll() is not None:
                raise NotStarted("The deployments", home / "serve.log")
            tell_errors(home / "prefect" / "server.log", told)


def tell_errors(log: Path, told: set[str]) -> None:
    """Print what the Prefect server logs as an error, each kind once: it still looks healthy."""
    for error in logged_errors(log.read_text(encoding="utf-8", errors="replace")):
        cause = error.splitlines()[-1].strip()
        if cause not in told:
            told.add(cause)
            print(
                f"The Prefect server reports an error: {cause}\nAll of it: {log}", file=sys.stderr
            )


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
