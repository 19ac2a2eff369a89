"""A run of the flow in a forked process: the imports are paid once, the process can be killed."""

from __future__ import annotations

import json
import os
import signal
import sys
import time
import traceback
from pathlib import Path
from typing import Any

from finetuning.form.run import FineTune


def preload() -> None:
    """Import everything that a run needs, without starting a thread or opening a connection."""
    import datasets  # noqa: F401
    import matplotlib.figure  # noqa: F401
    import mlflow  # noqa: F401

    import flows.fine_tune  # noqa: F401


class ForkedRun:
    """The flow with these parameters in a process of its own; its log and end are files."""

    def __init__(self, run: FineTune, folder: Path, number: int, gives_up_s: float) -> None:
        self.log = folder / f"run-{number}.log"
        self.end = folder / f"run-{number}.json"
        folder.mkdir(parents=True, exist_ok=True)
        self._status: int | None = None
        self.pid = os.fork()
        if self.pid == 0:
            self._child(run, gives_up_s)

    def _child(self, run: FineTune, gives_up_s: float) -> None:
        code = 1
        try:
            signal.alarm(0)
            out = os.open(self.log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
            os.dup2(out, 1)
            os.dup2(out, 2)
            os.setsid()
            self.end.write_text(json.dumps(_run(run, gives_up_s)))
            code = 0
        except BaseException:
            traceback.print_exc()
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(code)

    def kill(self) -> None:
        if self.running():
            os.kill(self.pid, signal.SIGKILL)
            self.wait(10)

    def running(self) -> bool:
        if self._status is None:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            self._status = status if pid else None
        return self._status is None

    def wait(self, within_s: float) -> bool:
        """Wait for its end; False if it is still running then."""
        deadline = time.monotonic() + within_s
        while self.running():
            if time.monotonic() > deadline:
                return False
            time.sleep(0.05)
        return True

    def ended(self) -> dict[str, Any]:
        """How it ended: ``state`` and ``message``."""
        if self.end.exists():
            return dict(json.loads(self.end.read_text()))
        return {"state": "Killed", "message": ""}


def _run(run: FineTune, gives_up_s: float) -> dict[str, Any]:
    import finetuning.azure.client
    from flows.fine_tune import fine_tune

    finetuning.azure.time_limits.READ_TIMEOUT_S = gives_up_s  # type: ignore[assignment]
    state = fine_tune(run, return_state=True)
    return {"state": state.name, "message": str(state.message)}
