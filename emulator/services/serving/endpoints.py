"""Online endpoints and what serves behind them: one scoring process for each deployment."""

import asyncio
import random
import secrets
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from emulator.clock import Clock
from emulator.faults import Faults
from emulator.latency import Profile
from emulator.protocol.operations import OperationFailed, Operations
from emulator.protocol.resources import state
from emulator.services.serving.preparation import Preparation
from emulator.services.serving.scorers import Scorers
from emulator.store import Store

ENDPOINT = "endpoint"
DEPLOYMENT = "deployment"
RESUMED = {"Creating": "create", "Updating": "create", "Deleting": "delete"}


@dataclass
class Serving:
    """All endpoints of one emulator; documents by names in lower case."""

    scorers: Scorers
    store: Store
    clock: Clock
    profile: Profile
    faults: Faults
    operations: Operations
    preparation: Preparation
    quota_freed: Callable[[], Awaitable[None]]

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
        keys = self.store.get("keys", endpoint.lower())
        if keys is None:
            keys = {which: secrets.token_urlsafe(24) for which in ("primaryKey", "secondaryKey")}
            self.store.put("keys", endpoint.lower(), keys)
        return keys

    def begin_keys(self, endpoint: str, given: dict[str, str | None]) -> None:
        """Make a new endpoint's keys, or take those that it is created with."""
        keys = {name: given.get(name) or value for name, value in self.keys(endpoint).items()}
        self.store.put("keys", endpoint.lower(), keys)

    def regenerate(self, endpoint: str, which: str, value: str | None = None) -> None:
        """Make one key anew (``primaryKey`` or ``secondaryKey``), or set it to ``value``.

        The SDK sends the present key as the value and expects a new one.
        """
        keys = self.keys(endpoint)
        new = value if value and value not in keys.values() else secrets.token_urlsafe(24)
        fresh = {**keys, which: new}
        self.store.put("keys", endpoint.lower(), fresh)

    def route(self, endpoint: dict[str, Any]) -> str | None:
        """Pick a deployment by the endpoint's traffic; None where no traffic is set."""
        traffic: dict[str, int] = endpoint["properties"].get("traffic") or {}
        names = [name for name, share in traffic.items() if share]
        if not names:
            return None
        return random.choices(names, weights=[traffic[name] for name in names])[0]

    def mirror(self, endpoint: dict[str, Any]) -> str | None:
        """The deployment that gets a copy of this request, by the endpoint's mirrored share."""
        shares: dict[str, int] = endpoint["properties"].get("mirrorTraffic") or {}
        drawn = random.uniform(0, 100)
        return next((name for name, share in shares.items() if drawn < share), None)

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
            await self.scorers.stop(deployment_key(key, deployment["name"]))
        await self.clock.sleep(self.profile.seconds("endpoint.delete"))
        for deployment in self.deployments(key):
            self.store.delete(DEPLOYMENT, deployment_key(key, deployment["name"]))
        self.store.delete("keys", key)
        self.store.delete(ENDPOINT, key)
        await self.quota_freed()

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
            await self.quota_freed()
            raise
        finally:
            serving.cancel()
        self._set(DEPLOYMENT, key, "Succeeded")

    async def _provision(self, key: str) -> None:
        if fault := self.faults.take("deployment_fails"):
            raise OperationFailed("OutOfCapacity", fault["message"])
        await self._serve(key)

    async def delete_deployment(self, key: str) -> None:
        await self.scorers.stop(key)
        self.preparation.tidy(key)
        await self.clock.sleep(self.profile.seconds("deployment.delete"))
        self.store.delete(DEPLOYMENT, key)
        await self.quota_freed()

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
        for deployment in self.deployments():
            key = deployment_key(deployment["endpoint"], deployment["name"])
            behind = self.endpoint(deployment["endpoint"])
            if behind is not None and state(behind) == "Deleting":
                continue  # it goes with its endpoint
            self._resume("deployment", key, state(deployment))
            if state(deployment) == "Succeeded":
                self.operations.begin("deployment.restart", key)

    def _resume(self, kind: str, key: str, was: str) -> None:
        verb = RESUMED.get(was)
        if verb is not None and self.operations.busy(key) is None:
            self.operations.begin(f"{kind}.{verb}", key)

    # -- processes

    async def _serve(self, key: str) -> None:
        """Have the deployment's model served. Raises OperationFailed."""
        body = self.store.get(DEPLOYMENT, key)
        if body is None:
            raise OperationFailed("Canceled", "The deployment was deleted while it was created.")
        served = await asyncio.to_thread(self.preparation.served, key, body["properties"])
        await self.scorers.replace(key, served)
        await asyncio.to_thread(self.preparation.tidy, key, served)

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
