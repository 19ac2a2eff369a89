"""Clusters: what is asked for, and what has become of it."""

from dataclasses import dataclass
from typing import Any

from emulator.clock import Clock
from emulator.faults import Faults
from emulator.latency import Profile
from emulator.protocol.operations import OperationFailed, Operations
from emulator.protocol.resources import state
from emulator.services.compute.quotas import KIND, Quotas, inner, is_dedicated
from emulator.store import Store

RESUMED = {
    "Creating": "compute.create",
    "Updating": "compute.create",
    "Deleting": "compute.delete",
}


@dataclass
class Clusters:
    """The workspace's clusters; documents by their names in lower case."""

    store: Store
    clock: Clock
    profile: Profile
    faults: Faults
    operations: Operations
    quotas: Quotas

    def __post_init__(self) -> None:
        self.operations.verbs["compute.create"] = self.create
        self.operations.verbs["compute.delete"] = self.delete

    def get(self, name: str) -> dict[str, Any] | None:
        return self.store.get(KIND, name.lower())

    def all(self) -> list[dict[str, Any]]:
        return self.store.list(KIND)

    def max_nodes(self, name: str) -> int:
        """How many nodes the cluster may have now; none if it is not there."""
        cluster = self.get(name)
        scale = inner(cluster).get("scaleSettings") or {} if cluster else {}
        return int(scale.get("maxNodeCount") or 0)

    async def create(self, key: str) -> None:
        """Bring the cluster up. Raises OperationFailed: no quota, or told to fail."""
        await self.clock.sleep(self.profile.seconds("compute.create"))
        cluster = self.store.get(KIND, key)
        if cluster is None:
            raise OperationFailed("Canceled", "The cluster was deleted while it was created.")
        problem = self._problem(cluster)
        properties = cluster["properties"]
        if problem is None:
            properties["provisioningState"] = "Succeeded"
            properties["provisioningErrors"] = None
        else:
            error = {"code": problem.code, "message": problem.message}
            properties["provisioningState"] = "Failed"
            properties["provisioningErrors"] = [{"error": error}]
        self.store.put(KIND, key, cluster)
        if problem is not None:
            raise problem

    def recover(self) -> None:
        """After a kill: what was stored and its operation not yet gets its operation now."""
        for cluster in self.store.list(KIND):
            key = cluster["name"].lower()
            verb = RESUMED.get(state(cluster))
            if verb is not None and self.operations.busy(key) is None:
                self.operations.begin(verb, key)

    async def delete(self, key: str) -> None:
        await self.clock.sleep(self.profile.seconds("compute.delete"))
        self.store.delete(KIND, key)

    def _problem(self, cluster: dict[str, Any]) -> OperationFailed | None:
        fault = self.faults.take("compute_fails")
        if fault is not None:
            return OperationFailed("AllocationFailed", fault["message"])
        if is_dedicated(cluster) and self.faults.take("no_dedicated_quota"):
            return self.quotas.refusal(cluster, 0)
        return self.quotas.problem(cluster)
