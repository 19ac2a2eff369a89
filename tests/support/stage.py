"""A real Prefect server, the flow served or run as a program, and what a test asks of both."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import UUID

from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.objects import FlowRun, State
from prefect.settings import PREFECT_API_URL, temporary_settings

from deployments.local_stack import free_port, running
from finetuning.form.run import FineTune
from tests.conftest import RunningEmulator, environment
from tests.support.prefect_servers import QUICK, prefect_server, send_what_waits
from tests.support.waiting import until


@dataclass
class Stage:
    """A Prefect server and an emulator, and the environment of programs that use both."""

    emulator: RunningEmulator
    env: dict[str, str]
    folder: Path

    @contextmanager
    def prefect(self) -> Iterator[SyncPrefectClient]:
        with (
            temporary_settings({PREFECT_API_URL: self.env["PREFECT_API_URL"]}),
            get_client(sync_client=True) as client,
        ):
            yield client

    @contextmanager
    def here(self) -> Iterator[None]:
        """Run flows in this process against this server; what they tell it is sent before it ends.

        Else this process would try for minutes, at its own end, to reach a server that is gone.
        """
        with self.prefect(), environment(self.env):
            yield
            send_what_waits()

    @contextmanager
    def program(self, *argv: str) -> Iterator[subprocess.Popen[bytes]]:
        """``python -m tests.support.watched`` as a process; afterwards it is gone."""
        log = self.folder / f"{argv[0]}-{time.monotonic_ns()}.log"
        command = [sys.executable, "-m", "tests.support.watched", *argv]
        with running(command, log, self.env) as process:
            yield process

    def log_of(self, program: str) -> str:
        """What all programs of this kind (``run``, ``serve``) have logged."""
        logs = sorted(self.folder.glob(f"{program}-*.log"))
        return "".join(log.read_text(errors="replace") for log in logs)

    @contextmanager
    def script(self, run: FineTune) -> Iterator[subprocess.Popen[bytes]]:
        """The flow in a program of its own, with nobody who watches over it."""
        parameters = self.folder / f"{run.key}.json"
        parameters.write_text(run.model_dump_json())
        with self.program("run", str(parameters)) as process:
            yield process

    @contextmanager
    def served(self, name: str, flow: str = "fine-tune") -> Iterator[subprocess.Popen[bytes]]:
        """The flow served, ready for runs."""
        with self.program("serve", name, flow) as process:
            until("the deployment is polled", lambda: self._ready(f"{flow}/{name}"))
            yield process

    def _ready(self, name: str) -> bool:
        from prefect.exceptions import ObjectNotFound

        with self.prefect() as client:
            try:
                found = client.read_deployment_by_name(name)
            except ObjectNotFound:
                return False
        return str(getattr(found.status, "value", found.status)) == "READY"

    def trigger(self, name: str, run: FineTune) -> UUID:
        with self.prefect() as client:
            deployment = client.read_deployment_by_name(f"fine-tune/{name}")
            parameters = {"run": run.model_dump(mode="json")}
            made = client.create_flow_run_from_deployment(deployment.id, parameters=parameters)
        return made.id

    def flow_run(self, flow_run_id: UUID) -> FlowRun:
        with self.prefect() as client:
            return client.read_flow_run(flow_run_id)

    def states(self, flow_run_id: UUID) -> list[str]:
        """The names of all states that the run has had."""
        with self.prefect() as client:
            return [str(one.name) for one in client.read_flow_run_states(flow_run_id)]

    def run_of(self, run: FineTune) -> FlowRun | None:
        """The newest flow run with this run's key."""
        with self.prefect() as client:
            found = client.read_flow_runs(limit=50)
        mine = [one for one in found if one.parameters.get("run", {}).get("key") == run.key]
        return max(mine, key=lambda one: str(one.created), default=None)

    def ended(self, flow_run_id: UUID, within_s: float = 150) -> State[Any]:
        """The run's state once it is a final one."""

        def look() -> State[Any] | None:
            state = self.flow_run(flow_run_id).state
            return state if state is not None and state.is_final() else None

        return until("the run has ended", look, within_s)

    def job(self, name: str) -> str | None:
        """The status of a job; None while there is none."""
        jobs = {one["name"]: one["status"] for one in self.emulator.summary()["jobs"]}
        return jobs.get(name)

    def endpoints(self) -> list[str]:
        return [one["name"] for one in self.emulator.summary()["endpoints"]]


def flow_processes(runner: subprocess.Popen[bytes]) -> list[int]:
    """The processes that a serving process started for its runs."""
    listed = subprocess.run(
        ["ps", "-o", "pid=", "--ppid", str(runner.pid)], capture_output=True, text=True, check=False
    )
    return [int(one) for one in listed.stdout.split()]


def kill(pid: int, how: signal.Signals) -> None:
    try:
        os.kill(pid, how)
    except ProcessLookupError:
        pass  # it was quicker


@contextmanager
def stage(emulator: RunningEmulator, folder: Path) -> Iterator[Stage]:
    """A Prefect server of its own on a free port, beside the emulator."""
    with prefect_server(folder / "prefect", free_port()) as settings:
        yield Stage(emulator, {**emulator.env, **settings, **QUICK}, folder)
