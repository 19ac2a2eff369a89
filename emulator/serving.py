"""Online endpoints and what serves behind them: one scoring process for each deployment."""

import asyncio
import random
import secrets
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

from emulator.assets import Assets
from emulator.clock import Clock
from emulator.faults import Faults
from emulator.job_inputs import ASSET, Locations
from emulator.latency import Profile
from emulator.operations import OperationFailed, Operations
from emulator.processes import Processes, Running
from emulator.store import Store

ENDPOINT = "endpoint"
DEPLOYMENT = "deployment"
STARTS_WITHIN_S = 180.0
CRASH = "import sys; print('scoring script failed:', sys.argv[1]); sys.exit(1)"


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

    def __post_init__(self) -> None:
        self.operations.verbs |= {
            "endpoint.create": self.create_endpoint,
            "endpoint.delete": self.delete_endpoint,
            "deployment.create": self.create_deployment,
            "deployment.delete": self.delete_deployment,
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

    def regenerate(self, endpoint: str, which: str) -> None:
        """Make one key anew (``primaryKey`` or ``secondaryKey``)."""
        fresh = {**self.keys(endpoint), which: secrets.token_urlsafe(24)}
        self.store.put("keys", endpoint.lower(), fresh)

    def port(self, endpoint: str, deployment: str) -> int | None:
        """Where the deployment's process listens, if it runs."""
        key = deployment_key(endpoint, deployment)
        running = self._running.get(key)
        return self._ports.get(key) if running is not None and running.running else None

    def route(self, endpoint: dict[str, Any]) -> str | None:
        """Pick a deployment by the endpoint's traffic; None where no traffic is set."""
        traffic = {k: v for k, v in (endpoint["properties"].get("traffic") or {}).items() if v}
        if not traffic:
            return None
        return random.choices(list(traffic), weights=list(traffic.values()))[0]

    def log(self, endpoint: str, deployment: str) -> Path:
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
            name = deployment_key(key, deployment["name"])
            await self._stop(name)
        await self.clock.sleep(self.profile.seconds("endpoint.delete"))
        for deployment in self.deployments(key):
            self.store.delete(DEPLOYMENT, deployment_key(key, deployment["name"]))
        self.store.delete("keys", key)
        self.store.delete(ENDPOINT, key)

    async def create_deployment(self, key: str) -> None:
        """Start the scoring process and wait until it is alive. Raises OperationFailed."""
        await self.clock.sleep(self.profile.seconds("deployment.create"))
        try:
            await self._serve(key)
        except OperationFailed:
            self._set(DEPLOYMENT, key, "Failed")
            raise
        self._set(DEPLOYMENT, key, "Succeeded")

    async def delete_deployment(self, key: str) -> None:
        await self._stop(key)
        await self.clock.sleep(self.profile.seconds("deployment.delete"))
        self.store.delete(DEPLOYMENT, key)

    async def recover(self) -> None:
        """After a restart: a deployment that was up gets its process again."""
        up = [one for one in self.deployments() if state(one) == "Succeeded"]
        for one in up:
            key = deployment_key(one["endpoint"], one["name"])
            if self._set(DEPLOYMENT, key, "Updating"):
                self.operations.begin("deployment.create", key)

    async def close(self) -> None:
        for key in list(self._running):
            await self._stop(key)

    # -- processes

    async def _serve(self, key: str) -> None:
        body = self.store.get(DEPLOYMENT, key)
        if body is None:
            raise OperationFailed("Canceled", "The deployment was deleted while it was created.")
        fault = self.faults.take("deployment_fails")
        if fault is not None:
            raise OperationFailed("OutOfCapacity", fault["message"])
        await self._stop(key)
        port_file = self.folder / key / "port"
        port_file.parent.mkdir(parents=True, exist_ok=True)
        port_file.unlink(missing_ok=True)
        argv = self._argv(self._model(body), port_file)
        log = self.log(body["endpoint"], body["name"])
        running = await self.processes.start(f"score {key}", argv, cwd=log.parent, log=log)
        self._running[key] = running
        self._ports[key] = await self._alive(running, port_file)

    def _model(self, body: dict[str, Any]) -> Path:
        model = str(body["properties"].get("model") or "")
        match = ASSET.search(model)
        found = self.assets.uri("models", match["name"], match["version"]) if match else None
        if found is None:
            raise OperationFailed("ModelNotFound", f"The model '{model}' was not found.")
        return self.locations.path(found)

    def _argv(self, model: Path, port_file: Path) -> list[str]:
        fault = self.faults.take("scorer_crashes")
        if fault is not None:
            return [sys.executable, "-c", CRASH, fault["message"]]
        arguments = ["--model", str(model), "--port-file", str(port_file)]
        return [sys.executable, str(self.program), *arguments]

    async def _alive(self, running: Running, port_file: Path) -> int:
        """Wait for the liveness probe's first success; the process's port."""
        deadline = asyncio.get_running_loop().time() + STARTS_WITHIN_S
        async with httpx.AsyncClient(trust_env=False, timeout=5) as http:
            while running.running and asyncio.get_running_loop().time() < deadline:
                if port_file.exists() and (text := port_file.read_text().strip()):
                    try:
                        answer = await http.get(f"http://127.0.0.1:{text}/")
                    except httpx.HTTPError:
                        pass  # not yet; the loop has a deadline
                    else:
                        if answer.is_success:
                            return int(text)
                await asyncio.sleep(0.05)
        await running.stop()
        raise OperationFailed(
            "ResourceNotReady",
            "User container has crashed or terminated. Please see troubleshooting guide, "
            "available here: https://aka.ms/oe-tsg#error-resourcenotready",
        )

    async def _stop(self, key: str) -> None:
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


def state(body: dict[str, Any]) -> str:
    return str(body["properties"]["provisioningState"])
