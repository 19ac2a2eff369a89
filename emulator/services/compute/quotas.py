"""vCPUs: how many the clusters could use, how many the region allows, by family."""

from dataclasses import dataclass
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from emulator.catalogue import Catalogue
from emulator.configuration import REGION, Configuration
from emulator.protocol.operations import OperationFailed
from emulator.protocol.paging import page
from emulator.protocol.resources import LOCATION, TYPE, WORKSPACE, state
from emulator.protocol.routing import Routes
from emulator.store import Store

KIND = "compute"


@dataclass
class Quotas:
    """The region's limits and sizes, and what the workspace's clusters take of them."""

    config: Configuration
    store: Store
    catalogue: Catalogue

    def cores_by_family(self) -> dict[str, int]:
        """vCPUs that the dedicated clusters could use, by family."""
        used: dict[str, int] = {}
        for cluster in self._counted():
            if is_dedicated(cluster):
                family, cores = self._cores(cluster)
                used[family] = used.get(family, 0) + cores
        return used

    def low_priority_cores(self) -> int:
        """vCPUs that the low-priority clusters could use together."""
        clusters = [cluster for cluster in self._counted() if not is_dedicated(cluster)]
        return sum(self._cores(cluster)[1] for cluster in clusters)

    def problem(self, cluster: dict[str, Any]) -> OperationFailed | None:
        """Why the cluster is too large for its quota, if it is."""
        family, cores = self._cores(cluster)
        limit = self.catalogue.low_priority_quota
        if is_dedicated(cluster):
            limit = self.catalogue.quotas.get(family, 0)
        return self.refusal(cluster, limit) if cores > limit else None

    def refusal(self, cluster: dict[str, Any], limit: int) -> OperationFailed:
        """The service's words for a cluster beyond its quota."""
        family, cores = self._cores(cluster)
        kind = "dedicated" if is_dedicated(cluster) else "low priority"
        return OperationFailed(
            "ClusterCoreQuotaReached",
            f"The specified subscription has a {kind} vCPU quota of {limit} for family {family} "
            f"and the cluster needs {cores}. Ask for more quota in the portal.",
        )

    def _counted(self) -> list[dict[str, Any]]:
        return [cluster for cluster in self.store.list(KIND) if state(cluster) != "Failed"]

    def _cores(self, cluster: dict[str, Any]) -> tuple[str, int]:
        size = self.catalogue.vm_size(inner(cluster)["vmSize"])
        nodes = int((inner(cluster).get("scaleSettings") or {}).get("maxNodeCount") or 1)
        return (size["family"], int(size["vCPUs"]) * nodes) if size else ("", 0)


def inner(cluster: dict[str, Any]) -> dict[str, Any]:
    """The cluster's own properties, which ARM keeps inside those of a compute."""
    properties: dict[str, Any] = cluster["properties"].get("properties") or {}
    return properties


def is_dedicated(cluster: dict[str, Any]) -> bool:
    return str(inner(cluster).get("vmPriority") or "Dedicated").lower() == "dedicated"


async def list_sizes(quotas: Quotas, request: Request) -> Response:
    return JSONResponse({"value": quotas.catalogue.vm_sizes})


async def list_usages(quotas: Quotas, request: Request) -> Response:
    """vCPUs in use and allowed, by family, as the workspace's clusters could use them."""
    used = quotas.cores_by_family()
    whole = sum(quotas.catalogue.quotas.values())
    rows = [_usage("total", "Total Cluster Dedicated Regional vCPUs", sum(used.values()), whole)]
    for family, limit in quotas.catalogue.quotas.items():
        rows.append(_usage(family, f"{family} Cluster Dedicated vCPUs", used.get(family, 0), limit))
    low = quotas.catalogue.low_priority_quota
    spent = quotas.low_priority_cores()
    rows.append(_usage("lowPriority", "Total Cluster LowPriority Regional vCPUs", spent, low))
    return page(request, rows)


async def list_quotas(quotas: Quotas, request: Request) -> Response:
    """vCPUs that the workspace may use, by family."""
    rows = [
        {
            "id": f"{quotas.config.workspace_id}/quotas/{family}",
            "amlWorkspaceLocation": REGION,
            "type": f"{TYPE}/quotas",
            "name": {"value": family, "localizedValue": f"{family} Cluster Dedicated vCPUs"},
            "limit": limit,
            "unit": "Count",
        }
        for family, limit in quotas.catalogue.quotas.items()
    ]
    return page(request, rows)


def _usage(name: str, text: str, used: int, limit: int) -> dict[str, Any]:
    return {
        "id": f"/usages/{name}",
        "type": f"{TYPE}/usages",
        "unit": "Count",
        "currentValue": used,
        "limit": limit,
        "name": {"value": name, "localizedValue": text},
    }


ROUTES: Routes[Quotas] = [
    ("GET", LOCATION + "/vmSizes", list_sizes),
    ("GET", LOCATION + "/usages", list_usages),
    ("GET", LOCATION + "/quotas", list_quotas),
    ("GET", WORKSPACE + "/usages", list_usages),
]
