"""Clusters: what is asked for, what the quota allows, what is running."""

from dataclasses import dataclass
from typing import Any

from emulator.catalogue import Catalogue
from emulator.clock import Clock
from emulator.faults import Faults
from emulator.latency import Profile
from emulator.protocol.operations import OperationFailed, Operations
from emulator.store import Store

KIND = "compute"
RESUMED = {
    "Creating": "compute.create",
    "Updating": "compute.create",
    "Deleting": "compute.delete",
}


@dataclass
class Computes:
    """The workspace's clusters; documents by their names in lower case."""

    store: Store
    clock: Clock
    profile: Profile
    faults: Faults
    operations: Operations
    catalogue: Catalogue

    def __post_init__(self) -> None:
        self.operations.verbs["compute.create"] = self.create
        self.operations.verbs["compute.delete"] = self.delete

    def get(self, name: str) -> dict[str, Any] | None:
        return self.store.get(KIND, name.lower())

    def max_nodes(self, name: str) -> int:
        """How many nodes the cluster may have now; none if it is not there."""
        found = self.get(name)
        scale = _inner(found).get("scaleSettings") or {} if found else {}
        return int(scale.get("maxNodeCount") or 0)

    def size(self, name: str) -> dict[str, Any] | None:
        """The VM size of that name, in whatever case."""
        sizes = self.catalogue.vm_sizes
        return next((one for one in sizes if one["name"].lower() == name.lower()), None)

    def cores_by_family(self) -> dict[str, int]:
        """vCPUs that the dedicated clusters could use, by family."""
        used: dict[str, int] = {}
        for cluster in self.store.list(KIND):
            if is_dedicated(cluster) and state(cluster) != "Failed":
                family, cores = self._cores(cluster)
                used[family] = used.get(family, 0) + cores
        return used

    def low_priority_cores(self) -> int:
        """vCPUs that the low-priority clusters could use together."""
        clusters = [one for one in self.store.list(KIND) if state(one) != "Failed"]
        return sum(self._cores(one)[1] for one in clusters if not is_dedicated(one))

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
            return self._no_quota(cluster, 0)
        family, cores = self._cores(cluster)
        limit = self.catalogue.quotas.get(family, 0)
        if not is_dedicated(cluster):
            limit = self.catalogue.low_priority_quota
        return self._no_quota(cluster, limit) if cores > limit else None

    def _no_quota(self, cluster: dict[str, Any], limit: int) -> OperationFailed:
        family, cores = self._cores(cluster)
        kind = "dedicated" if is_dedicated(cluster) else "low priority"
        return OperationFailed(
            "ClusterCoreQuotaReached",
            f"The specified subscription has a {kind} vCPU quota of {limit} for family {family} "
            f"and the cluster needs {cores}. Ask for more quota in the portal.",
        )

    def _cores(self, cluster: dict[str, Any]) -> tuple[str, int]:
        size = self.size(_inner(cluster)["vmSize"])
        nodes = int((_inner(cluster).get("scaleSettings") or {}).get("maxNodeCount") or 1)
        return (size["family"], int(size["vCPUs"]) * nodes) if size else ("", 0)


def _inner(cluster: dict[str, Any]) -> dict[str, Any]:
    inner: dict[str, Any] = cluster["properties"].get("properties") or {}
    return inner


def state(cluster: dict[str, Any]) -> str:
    return str(cluster["properties"]["provisioningState"])


def is_dedicated(cluster: dict[str, Any]) -> bool:
    return str(_inner(cluster).get("vmPriority") or "Dedicated").lower() == "dedicated"
