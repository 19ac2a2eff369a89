"""Online endpoints and what serves behind them: one scoring process for each deployment."""

import asyncio
import logging
import random
import re
import secrets
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

from emulator.assets import Assets
from emulator.clock import Clock
from emulator.errors import ArmError
from emulator.faults import Faults
from emulator.job_inputs import ASSET, Locations, Unresolvable
from emulator.latency import Profile
from emulator.operations import OperationFailed, Operations
from emulator.processes import Processes, ProcessNotStarted, Running
from emulator.store import Store

log = logging.getLogger(__name__)

ENDPOINT = "endpoint"
DEPLOYMENT = "deployment"
DURATION = re.compile(r"P(?:0D)?T(?:(\d+)H)?(?:(\d+)M)?(?:([\d.]+)S)?")
STARTS_WITHIN_S = 180.0
LOOK_EVERY_S = 0.05  # at a process that is coming up
CRASH = "import sys; print('scoring script failed:', sys.argv[1]); sys.exit(1)"
RESUMED = {"Creating": "create", "Updating": "create", "Deleting": "delete"}
LONGEST_PAUSE_S = 300.0  # between two starts of a process that keeps crashing


@dataclass
class Serving:
    """All endpoints of one emulator; documents by names in lower case."""

    folder: Path
    program: Path
    store: Store
    clock: Clock
    profile: Profile
    faults: Faults
    operations: Operations
    processes: Processes
    assets: Assets
    locations: Locations
    _running: dict[str, Running] = field(default_factory=dict)
    _ports: dict[str, int] = field(default_factory=dict)
    _keepers: dict[str, asyncio.Task[None]] = field(default_factory=dict)
    _http: httpx.AsyncClient | None = None

    def __post_init__(self) -> None:
        self.operations.verbs |= {
            "endpoint.create": self.create_endpoint,
            "endpoint.delete": self.delete_endpoint,
            "deployment.create": self.create_deployment,
            "deployment.delete": self.delete_deployment,
            "deployment.restart": self.restart_deployment,
        }

    # -- what is there

    def endpoint(self, name: str) -> dict[str, Any] | None:
        return self.store.get(ENDPOINT, name.lower())

    def endpoints(self) -> list[dict[str, Any]]:
        return self.store.list(ENDPOINT)

    def deployment(self, endpoint: str, name: str) -> dict[str, Any] | None:
        return self.store.get(DEPLOYMENT, deployment_key(endpoint, name))

    def deployments(self, endpoint: str = "") -> list[dict[str, Any]]:
        return self.store.list(DEPLOYMENT, f"{endpoint.lower()}/" if endpoint else "")

    def keys(self, endpoint: str) -> dict[str, str]:
        """The endpoint's two keys, made when they are first wanted."""
        found = self.store.get("keys", endpoint.lower())
        if found is None:
            found = {which: secrets.token_urlsafe(24) for which in ("primaryKey", "secondaryKey")}
            self.store.put("keys", endpoint.lower(), found)
        return found

    def regenerate(self, endpoint: str, which: str, value: str | None = None) -> None:
        """Make one key anew (``primaryKey`` or ``secondaryKey``), or set it to ``value``.

        The SDK sends the present key as the value and expects a new one.
        """
        keys = self.keys(endpoint)
        new = value if value and value not in keys.values() else secrets.token_urlsafe(24)
        fresh = {**keys, which: new}
        self.store.put("keys", endpoint.lower(), fresh)

    def port(self, endpoint: str, deployment: str) -> int | None:
        """Where the deployment's process listens, if it runs."""
        key = deployment_key(endpoint, deployment)
        running = self._running.get(key)
        return self._ports.get(key) if running is not None and running.running else None

    def route(self, endpoint: dict[str, Any]) -> str | None:
        """Pick a deployment by the endpoint's traffic; None where no traffic is set."""
        traffic: dict[str, int] = endpoint["properties"].get("traffic") or {}
        names = [name for name, share in traffic.items() if share]
        if not names:
            return None
        return random.choices(names, weights=[traffic[name] for name in names])[0]

    def log_path(self, endpoint: str, deployment: str) -> Path:
        return self.folder / deployment_key(endpoint, deployment) / "inference.log"

    # -- verbs

    async def create_endpoint(self, key: str) -> None:
        known = self.store.get(ENDPOINT, key)
        fresh = known is not None and state(known) == "Creating"
        operation = "endpoint.create" if fresh else "endpoint.update"
        await self.clock.sleep(self.profile.seconds(operation))
        self._set(ENDPOINT, key, "Succeeded")

    async def delete_endpoint(self, key: str) -> None:
        """Take the endpoint away with all that serves behind it."""
        for deployment in self.deployments(key):
            await self._stop(deployment_key(key, deployment["name"]))
        await self.clock.sleep(self.profile.seconds("endpoint.delete"))
        for deployment in self.deployments(key):
            self.store.delete(DEPLOYMENT, deployment_key(key, deployment["name"]))
        self.store.delete("keys", key)
        self.store.delete(ENDPOINT, key)

    async def create_deployment(self, key: str) -> None:
        """Start the scoring process and wait until it is alive. Raises OperationFailed.

        The process comes up within the service's time, not after it: loading is part of that.
        """
        serving = asyncio.create_task(self._provision(key))
        try:
            await self.clock.sleep(self.profile.seconds("deployment.create"))
            await serving
        except OperationFailed:
            self._set(DEPLOYMENT, key, "Failed")
            raise
        finally:
            serving.cancel()
        self._set(DEPLOYMENT, key, "Succeeded")

    async def _provision(self, key: str) -> None:
        if fault := self.faults.take("deployment_fails"):
            raise OperationFailed("OutOfCapacity", fault["message"])
        await self._serve(key)

    async def delete_deployment(self, key: str) -> None:
        await self._stop(key)
        await self.clock.sleep(self.profile.seconds("deployment.delete"))
        self.store.delete(DEPLOYMENT, key)

    async def restart_deployment(self, key: str) -> None:
        """Bring the process of a deployment up that has none any more."""
        try:
            await self._serve(key)
        except OperationFailed:
            self._set(DEPLOYMENT, key, "Failed")
            raise

    def recover(self) -> None:
        """After a restart: a deployment that was up gets its process again.

        It stays Succeeded meanwhile and answers 503, as one whose machine is replaced. What was
        stored just before a kill, and its operation not yet, gets its operation now.
        """
        for endpoint in self.endpoints():
            self._resume("endpoint", endpoint["name"].lower(), state(endpoint))
        for one in self.deployments():
            key = deployment_key(one["endpoint"], one["name"])
            endpoint_body = self.endpoint(one["endpoint"])
            if endpoint_body is not None and state(endpoint_body) == "Deleting":
                continue  # it goes with its endpoint
            self._resume("deployment", key, state(one))
            if state(one) == "Succeeded":
                self.operations.begin("deployment.restart", key)

    def _resume(self, kind: str, key: str, was: str) -> None:
        verb = RESUMED.get(was)
        if verb is not None and self.operations.busy(key) is None:
            self.operations.begin(f"{kind}.{verb}", key)

    async def close(self) -> None:
        for key in list(self._running):
            await self._stop(key)
        if self._http is not None:
            await self._http.aclose()

    @property
    def http(self) -> httpx.AsyncClient:
        """For talking to the scoring processes; made once, since making one takes long."""
        if self._http is None:
            self._http = httpx.AsyncClient(trust_env=False, verify=False)  # loopback, plain http
        return self._http

    async def crash(self, endpoint: str, name: str) -> None:
        """Kill the deployment's process (a fault); its keeper finds it dead."""
        running = self._running.get(deployment_key(endpoint, name))
        if running is not None:
            await running.stop(grace_s=0)

    # -- processes

    async def _serve(self, key: str) -> None:
        """Start the deployment's process in place of one that may run. Raises OperationFailed."""
        body = self.store.get(DEPLOYMENT, key)
        if body is None:
            raise OperationFailed("Canceled", "The deployment was deleted while it was created.")
        await self._stop(key)
        try:
            await self._start(key, body)
        except (ProcessNotStarted, Unresolvable, ArmError) as problem:
            raise OperationFailed("InternalServerError", str(problem)) from problem
        keeper = asyncio.create_task(self._keep(key, self._running[key]), name=f"keep {key}")
        self._keepers[key] = keeper

    async def _start(self, key: str, body: dict[str, Any]) -> None:
        port_file = self.folder / key / "port"
        port_file.parent.mkdir(parents=True, exist_ok=True)
        port_file.unlink(missing_ok=True)
        argv = self._argv(self._model(body), port_file)
        path = self.log_path(body["endpoint"], body["name"])
        running = await self.processes.start(f"score {key}", argv, cwd=path.parent, log=path)
        self._running[key] = running
        self._ports[key] = await self._alive(running, port_file)

    async def _keep(self, key: str, running: Running) -> None:
        """Start the process again when it dies by itself, later each time, as Kubernetes does."""
        pause = self.profile.seconds("deployment.restart")
        while True:
            code = await running.wait()
            if self._running.get(key) is not running:
                return  # stopped or replaced on purpose
            log.warning("the scoring process of %s ended with %s: starting it again", key, code)
            await self.clock.sleep(pause)
            pause = min(2 * pause, LONGEST_PAUSE_S)
            body = self.store.get(DEPLOYMENT, key)
            if body is None or self._running.get(key) is not running:
                return
            try:
                await self._start(key, body)
                running = self._running[key]
            except (OperationFailed, ProcessNotStarted, Unresolvable, ArmError) as problem:
                log.warning("it did not come up: %s", problem)
                self._running[key] = running  # the dead one: try again after a longer pause

    def _model(self, body: dict[str, Any]) -> Path:
        model = str(body["properties"].get("model") or "")
        match = ASSET.search(model)
        found = self.assets.uri("models", match["name"], match["version"]) if match else None
        if found is None:
            raise OperationFailed("ModelNotFound", f"The model '{model}' was not found.")
        return self.locations.path(found)

    def _argv(self, model: Path, port_file: Path) -> list[str]:
        fault = self.faults.take("scorer_crashes", "start")
        if fault is not None:
            return [sys.executable, "-c", CRASH, fault["message"]]
        arguments = ["--model", str(model), "--port-file", str(port_file)]
        return [sys.executable, str(self.program), *arguments]

    async def _alive(self, running: Running, port_file: Path) -> int:
        """Wait for the liveness probe's first success; the process's port."""
        deadline = asyncio.get_running_loop().time() + STARTS_WITHIN_S
        while running.running and asyncio.get_running_loop().time() < deadline:
            port = port_file.read_text().strip() if port_file.exists() else ""
            if port and await self._is_healthy(int(port)):
                return int(port)
            await asyncio.sleep(LOOK_EVERY_S)
        await running.stop()
        raise OperationFailed(
            "ResourceNotReady",
            "User container has crashed or terminated. Please see troubleshooting guide, "
            "available here: https://aka.ms/oe-tsg#error-resourcenotready. Check the deployment's "
            "logs for what it printed.",
        )

    async def _is_healthy(self, port: int) -> bool:
        try:
            answer = await self.http.get(f"http://127.0.0.1:{port}/", timeout=5)
        except httpx.HTTPError:
            return False
        return answer.is_success

    async def _stop(self, key: str) -> None:
        keeper = self._keepers.pop(key, None)
        if keeper is not None:
            keeper.cancel()
            await asyncio.gather(keeper, return_exceptions=True)
        running = self._running.pop(key, None)
        self._ports.pop(key, None)
        if running is not None:
            await running.stop(grace_s=2)

    def _set(self, kind: str, key: str, to: str) -> bool:
        """Set the state of a resource that is still there."""
        body = self.store.get(kind, key)
        if body is None:
            return False
        body["properties"]["provisioningState"] = to
        self.store.put(kind, key, body)
        return True


def deployment_key(endpoint: str, name: str) -> str:
    return f"{endpoint}/{name}".lower()


def seconds(duration: str) -> float:
    """The length of an ISO 8601 duration as the SDK sends it (``PT90S``, ``PT1M30S``); else 0."""
    match = DURATION.fullmatch(duration)
    if match is None:
        return 0.0
    hours, minutes, rest = (float(part or 0) for part in match.groups())
    return 3600 * hours + 60 * minutes + rest


def state(body: dict[str, Any]) -> str:
    return str(body["properties"]["provisioningState"])
