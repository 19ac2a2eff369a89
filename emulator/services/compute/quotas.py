"""vCPUs: how many are in use, how many the region allows, by family.

In use is what is there: the nodes of clusters that are up, idle ones too, and what deployments have
reserved. So usage never exceeds quota: who would exceed it waits (a node) or is refused (a
deployment).
"""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from emulator.catalogue import Catalogue
from emulator.catalogue.families import vcpus_of
from emulator.configuration import Configuration
from emulator.protocol.errors import ArmError
from emulator.protocol.operations import OperationFailed
from emulator.protocol.paging import page
from emulator.protocol.resources import LOCATION, WORKSPACE, state
from emulator.protocol.routing import Routes
from emulator.store import Store

KIND = "compute"
DEPLOYMENT = "deployment"
PROVIDER = "Microsoft.MachineLearningServices"
#: The last api-version whose list of sizes has another name (azure-mgmt-machinelearningservices
#: 1.0.1: models, VirtualMachineSizeListResult).
OLD_SIZES = "2020-08-01"
#: Computes that a region takes at most, once raised (MicrosoftDocs, how-to-manage-quotas).
MOST_CLUSTERS = 2500
#: Deployments reserve a fifth more than their instances, so that Azure can upgrade them
#: (MicrosoftDocs, how-to-manage-quotas).
RESERVE_PERCENT = 120
#: Families without that reserve: those marked so in MicrosoftDocs' list
#: reference-managed-online-endpoints-vm-sku-list (column "Skip 20% Reservation").
WITHOUT_RESERVE = (
    "standardNCADSA100v4Family",
    "standardNCADSH100v5Family",
    "standardNDAMSv4_A100Family",
    "standardNDASv4_A100Family",
    "standardNDSv2Family",
    "standardNDv5H100Family",
)


@dataclass
class Quotas:
    """The region's limits and sizes, and what the workspace takes of them.

    ``nodes_up`` tells how many nodes of a cluster are there now.
    """

    config: Configuration
    store: Store
    catalogue: Catalogue
    nodes_up: Callable[[str], int]

    def used(self, family: str, *, dedicated: bool) -> int:
        """vCPUs in use of one family."""
        clusters = self.clusters(family, dedicated=dedicated)
        nodes = sum(self.cores_up(cluster) for cluster in clusters)
        return nodes + (self._reserved(family) if dedicated else 0)

    def clusters(self, family: str, *, dedicated: bool) -> list[dict[str, Any]]:
        """The clusters of one family and kind of node."""
        return [
            cluster
            for cluster in self.store.list(KIND)
            if is_dedicated(cluster) == dedicated and self._size(cluster)[0] == family
        ]

    def cores_up(self, cluster: dict[str, Any]) -> int:
        """vCPUs of the cluster's nodes that are there."""
        return self._size(cluster)[1] * self.nodes_up(cluster["name"])

    def limit(self, family: str, *, dedicated: bool) -> int:
        """vCPUs of a family that the region allows; low priority has one limit for all."""
        if dedicated:
            return self.catalogue.quotas.get(family, 0)
        return self.catalogue.low_priority_quota

    def room(self, compute: str) -> bool:
        """Whether the quota takes another node of a compute; serverless ones are not counted."""
        cluster = self.store.get(KIND, compute.lower())
        if cluster is None:
            return True
        dedicated = is_dedicated(cluster)
        family, cores = self._size(cluster)
        families = [family] if dedicated else list(self.catalogue.quotas)
        used = sum(self.used(one, dedicated=dedicated) for one in families)
        return used + cores <= self.limit(family, dedicated=dedicated)

    def problem(self, cluster: dict[str, Any]) -> OperationFailed | None:
        """Why the cluster is too large for its quota, if it is."""
        family, cores = self._size(cluster)
        limit = self.limit(family, dedicated=is_dedicated(cluster))
        return self.refusal(cluster, limit) if cores * _most(cluster) > limit else None

    def refusal(self, cluster: dict[str, Any], limit: int) -> OperationFailed:
        """The service's words for a cluster beyond its quota."""
        family, cores = self._size(cluster)
        kind = "dedicated" if is_dedicated(cluster) else "low priority"
        return OperationFailed(
            "ClusterCoreQuotaReached",
            f"The specified subscription has a {kind} vCPU quota of {limit} for family {family} "
            f"and the cluster needs {cores * _most(cluster)}. Ask for more quota in the portal.",
        )

    def shortage(self, cluster: dict[str, Any]) -> dict[str, Any]:
        """What a cluster says while a job waits for a node that the quota has no room for."""
        family, cores = self._size(cluster)
        dedicated = is_dedicated(cluster)
        text = (
            f"Operation results in exceeding quota limits of {family} vCPUs. Maximum allowed: "
            f"{self.limit(family, dedicated=dedicated)}, Current in use: "
            f"{self.used(family, dedicated=dedicated)}, Additional requested: {cores}."
        )
        return {"error": {"code": "ClusterCoreQuotaReached", "message": text}}

    def check_deployment(self, size: str, count: int, known: dict[str, Any] | None) -> None:
        """Raises ArmError 400: the quota has no room for what the deployment would reserve.

        Azure refuses the request itself: the words are those of the service as users met them
        (MicrosoftLearning/mslearn-azure-ml#30, microsoft/azure-realtime-fraud-detection#2).
        """
        family, needed = self.reserve(size, count)
        before = self._reserve_of(known)[1] if known is not None else 0
        used, limit = self.used(family, dedicated=True), self.limit(family, dedicated=True)
        if used - before + needed <= limit:
            return
        subscription = self.config.identity.subscription
        inner = (
            f'{{"errors":{{"VmSize":["Not enough quota available for {size} in SubscriptionId '
            f"{subscription}. Current usage/limit: {used}/{limit}. Additional needed: "
            f"{needed - before} Please see troubleshooting guide, available here: "
            'https://aka.ms/oe-tsg#error-outofquota"]},"title":"One or more validation errors '
            'occurred.","status":400}'
        )
        raise ArmError(
            400,
            "BadRequest",
            "The request is invalid. InferencingClientCreateDeploymentFailed: InferencingClient "
            f"HttpRequest error, error detail: {inner}",
        )

    def reserve(self, size: str, count: int) -> tuple[str, int]:
        """The family of a deployment, and the vCPUs that it reserves."""
        facts = self.catalogue.vm_size(size)
        if facts is None:
            return "", 0
        family = str(facts["family"])
        percent = 100 if family in WITHOUT_RESERVE else RESERVE_PERCENT
        return family, math.ceil(percent * count / 100) * int(facts["vCPUs"])

    def _reserve_of(self, deployment: dict[str, Any]) -> tuple[str, int]:
        size = str(deployment["properties"].get("instanceType") or "")
        return self.reserve(size, int((deployment.get("sku") or {}).get("capacity") or 1))

    def _reserved(self, family: str) -> int:
        there = [one for one in self.store.list(DEPLOYMENT) if state(one) != "Failed"]
        reserves = [self._reserve_of(deployment) for deployment in there]
        return sum(cores for of, cores in reserves if of == family)

    def _size(self, cluster: dict[str, Any]) -> tuple[str, int]:
        """Family and vCPUs of the cluster's nodes."""
        size = self.catalogue.vm_size(inner(cluster)["vmSize"])
        return (str(size["family"]), int(size["vCPUs"])) if size else ("", 0)


def _most(cluster: dict[str, Any]) -> int:
    return int((inner(cluster).get("scaleSettings") or {}).get("maxNodeCount") or 1)


def inner(cluster: dict[str, Any]) -> dict[str, Any]:
    """The cluster's own properties, which ARM keeps inside those of a compute."""
    properties: dict[str, Any] = cluster["properties"].get("properties") or {}
    return properties


def is_dedicated(cluster: dict[str, Any]) -> bool:
    return str(inner(cluster).get("vmPriority") or "Dedicated").lower() == "dedicated"


async def list_sizes(quotas: Quotas, request: Request) -> Response:
    is_old = request.query_params["api-version"] <= OLD_SIZES
    name = "amlCompute" if is_old else "value"
    return JSONResponse({name: quotas.catalogue.vm_sizes})


async def list_usages(quotas: Quotas, request: Request) -> Response:
    """vCPUs in use and allowed: totals, and each family for subscription, workspace, clusters."""
    return page(request, list(_usages(quotas)))


def _usages(quotas: Quotas) -> Iterator[dict[str, Any]]:
    subscription = f"/subscriptions/{quotas.config.identity.subscription}"
    clusters = len(quotas.store.list(KIND))
    yield _usage(f"{subscription}/usages", "totalCores", "Clusters", clusters, MOST_CLUSTERS)
    for dedicated in (True, False):
        yield from _usages_of(quotas, subscription, dedicated=dedicated)


def _usages_of(quotas: Quotas, subscription: str, *, dedicated: bool) -> Iterator[dict[str, Any]]:
    kind = "Dedicated" if dedicated else "LowPriority"
    families = quotas.catalogue.quotas
    used = {family: quotas.used(family, dedicated=dedicated) for family in families}
    whole = sum(families.values()) if dedicated else quotas.catalogue.low_priority_quota
    yield _usage(
        f"{subscription}/usages",
        "dedicatedCores" if dedicated else "lowPriorityCores",
        f"Total Cluster {kind} Regional vCPUs",
        sum(used.values()),
        whole,
    )
    for family, allowed in families.items():
        name = vcpus_of(family, dedicated=dedicated)
        limit = allowed if dedicated else -1  # low priority has no limit of a family
        row = f"usages/{name.replace(' ', '_')}"
        yield _usage(f"{subscription}/{row}", "vmFamily", name, used[family], limit)
        clusters = quotas.clusters(family, dedicated=dedicated)
        if not clusters and not used[family]:
            continue
        place = quotas.config.workspace_id
        yield _usage(f"{place}/{row}", "workspaces", name, used[family], limit)
        for cluster in clusters:
            there = f"{place}/computes/{cluster['name']}/{row}"
            yield _usage(there, "workspaces/computes", name, quotas.cores_up(cluster), limit)


def _usage(place: str, kind: str, name: str, used: int, limit: int) -> dict[str, Any]:
    return {
        "id": place,
        "type": f"{PROVIDER}/{kind}/usages",
        "currentValue": used,
        "limit": limit,
        "name": {"value": name, "localizedValue": name},
        "unit": "Count",
    }


async def list_quotas(quotas: Quotas, request: Request) -> Response:
    """vCPUs allowed by family: to the subscription, and to the workspace, which may have all."""
    return page(request, list(_quotas(quotas)))


def _quotas(quotas: Quotas) -> Iterator[dict[str, Any]]:
    subscription = f"/subscriptions/{quotas.config.identity.subscription}"
    for family, limit in quotas.catalogue.quotas.items():
        name = vcpus_of(family, dedicated=True)
        places = ((subscription, "vmFamily"), (quotas.config.workspace_id, "workspaces"))
        for place, kind in places:
            yield {
                "id": f"{place}/quotas/{name.replace(' ', '_')}",
                "type": f"{PROVIDER}/{kind}/quotas",
                "limit": limit,
                "name": {"value": name, "localizedValue": name},
                "unit": "Count",
            }


ROUTES: Routes[Quotas] = [
    ("GET", LOCATION + "/vmSizes", list_sizes),
    ("GET", LOCATION + "/usages", list_usages),
    ("GET", LOCATION + "/quotas", list_quotas),
    ("GET", WORKSPACE + "/usages", list_usages),
]
