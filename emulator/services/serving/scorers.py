"""The scoring processes behind deployments: one each, replaced without a gap, kept alive."""

import asyncio
import logging
import secrets
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import httpx

from emulator.clock import Clock
from emulator.faults import Faults
from emulator.latency import Profile
from emulator.processes.children import Processes, ProcessNotStarted, Running
from emulator.protocol.operations import OperationFailed

log = logging.getLogger(__name__)

STARTS_WITHIN_S = 180.0
STOPS_WITHIN_S = 2.0
LOOK_EVERY_S = 0.05  # at a process that is coming up
LONGEST_PAUSE_S = 300.0  # between two starts of a process that keeps crashing
CRASH = "import sys; print('scoring script failed:', sys.argv[1]); sys.exit(1)"
NOT_READY = (
    "User container has crashed or terminated. Please see troubleshooting guide, available here: "
    "https://aka.ms/oe-tsg#error-resourcenotready. Check the deployment's logs for what it printed."
)


@dataclass(frozen=True)
class Served:
    """What a scoring process is started with: its model, or a script of the user's with it.

    ``env`` are the deployment's own environment variables, ``folder`` is where a script finds its
    modules and the process begins.
    """

    model: Path
    env: Mapping[str, str] = field(default_factory=dict)
    script: Path | None = None
    folder: Path | None = None


@dataclass
class Scorers:
    """All scoring processes of one emulator, by their deployments' keys."""

    folder: Path
    program: Path
    clock: Clock
    profile: Profile
    faults: Faults
    processes: Processes
    _running: dict[str, Running] = field(default_factory=dict)
    _ports: dict[str, int] = field(default_factory=dict)
    _keepers: dict[str, asyncio.Task[None]] = field(default_factory=dict)
    _http: httpx.AsyncClient | None = None

    @property
    def http(self) -> httpx.AsyncClient:
        """For talking to the processes; made once, since making one takes long."""
        if self._http is None:
            self._http = httpx.AsyncClient(trust_env=False, verify=False)  # loopback, plain http
        return self._http

    def port(self, key: str) -> int | None:
        """Where the deployment's process listens, if it runs."""
        running = self._running.get(key)
        return self._ports.get(key) if running is not None and running.running else None

    def log_path(self, key: str) -> Path:
        """What the deployment's processes print."""
        return self.folder / key / "inference.log"

    async def replace(self, key: str, served: Served) -> None:
        """Serve this from now on; what served before goes once the new process is alive.

        Raises OperationFailed: it did not come up, and what served before goes on.
        """
        await self._let_go(key)
        before = self._running.get(key)
        try:
            self._running[key] = await self._start(key, served)
        except ProcessNotStarted as problem:
            raise OperationFailed("InternalServerError", str(problem)) from problem
        finally:
            if key in self._running:
                keeper = self._keep(key, self._running[key], served)
                self._keepers[key] = asyncio.create_task(keeper, name=f"keep {key}")
        if before is not None:
            await before.stop(grace_s=STOPS_WITHIN_S)

    async def stop(self, key: str) -> None:
        """End the deployment's process, if it has one."""
        await self._let_go(key)
        running = self._running.pop(key, None)
        self._ports.pop(key, None)
        if running is not None:
            await running.stop(grace_s=STOPS_WITHIN_S)

    async def crash(self, key: str) -> None:
        """Kill the deployment's process (a fault); its keeper finds it dead."""
        running = self._running.get(key)
        if running is not None:
            await running.stop(grace_s=0)

    async def close(self) -> None:
        for key in list(self._running):
            await self.stop(key)
        if self._http is not None:
            await self._http.aclose()

    async def _start(self, key: str, served: Served) -> Running:
        """Start a process and wait until it is alive. Raises OperationFailed, ProcessNotStarted."""
        log_path = self.log_path(key)
        log_path.parent.mkdir(parents=True, exist_ok=True)
        port_file = log_path.with_name(f"port-{secrets.token_hex(4)}")
        argv = self._argv(served, port_file)
        place = served.folder or log_path.parent
        running = await self.processes.start(
            f"score {key}", argv, cwd=place, log=log_path, env=served.env
        )
        try:
            self._ports[key] = await self._alive(running, port_file)
        except BaseException:  # also when whoever waits for it is cancelled
            await running.stop(grace_s=STOPS_WITHIN_S)
            raise
        finally:
            port_file.unlink(missing_ok=True)
        return running

    def _argv(self, served: Served, port_file: Path) -> list[str]:
        fault = self.faults.take("scorer_crashes", "start")
        if fault is not None:
            return [sys.executable, "-c", CRASH, fault["message"]]
        arguments = ["--model", str(served.model), "--port-file", str(port_file)]
        if served.script is not None:
            arguments += ["--script", str(served.script)]
        return [sys.executable, str(self.program), *arguments]

    async def _alive(self, running: Running, port_file: Path) -> int:
        """Wait for the liveness probe's first success; the process's port."""
        deadline = asyncio.get_running_loop().time() + STARTS_WITHIN_S
        while running.running and asyncio.get_running_loop().time() < deadline:
            port = port_file.read_text().strip() if port_file.exists() else ""
            if port and await self._is_healthy(int(port)):
                return int(port)
            await asyncio.sleep(LOOK_EVERY_S)
        raise OperationFailed("ResourceNotReady", NOT_READY)

    async def _is_healthy(self, port: int) -> bool:
        try:
            answer = await self.http.get(f"http://127.0.0.1:{port}/", timeout=5)
        except httpx.HTTPError:
            return False
        return answer.is_success

    async def _keep(self, key: str, running: Running, served: Served) -> None:
        """Start the process again when it dies by itself, later each time, as Kubernetes does."""
        pause = self.profile.seconds("deployment.restart")
        while True:
            code = await running.wait()
            log.warning("the scoring process of %s ended with %s: starting it again", key, code)
            await self.clock.sleep(pause)
            pause = min(2 * pause, LONGEST_PAUSE_S)
            try:
                running = self._running[key] = await self._start(key, served)
            except (OperationFailed, ProcessNotStarted) as problem:
                log.warning("it did not come up: %s", problem)

    async def _let_go(self, key: str) -> None:
        """Stop keeping the process alive; whoever calls decides about it."""
        keeper = self._keepers.pop(key, None)
        if keeper is not None:
            keeper.cancel()
            await asyncio.gather(keeper, return_exceptions=True)
