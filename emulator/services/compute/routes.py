"""Clusters on ARM: create, scale, get, list, delete."""

import re
from dataclasses import dataclass
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from emulator.catalogue import Catalogue
from emulator.clock import Clock
from emulator.configuration import REGION, Configuration
from emulator.protocol.errors import ArmError, NotEmulated, not_found
from emulator.protocol.operations import Operations
from emulator.protocol.paging import page
from emulator.protocol.resources import TYPE, WORKSPACE, body_of, system_data
from emulator.protocol.routing import Routes
from emulator.services.compute.clusters import Clusters
from emulator.services.compute.nodes import Nodes
from emulator.services.compute.quotas import KIND

PATH = WORKSPACE + "/computes/{name}"
NAME = re.compile(r"[a-zA-Z][a-zA-Z0-9-]{0,30}[a-zA-Z0-9]")


@dataclass(frozen=True)
class ComputeService:
    """What the routes of clusters ask."""

    config: Configuration
    clock: Clock
    catalogue: Catalogue
    operations: Operations
    clusters: Clusters
    nodes: Nodes


def find(service: ComputeService, request: Request) -> dict[str, Any]:
    """The cluster that the path names. Raises ArmError 404."""
    name = request.path_params["name"]
    cluster = service.clusters.get(name)
    if cluster is None:
        raise not_found("workspaces/computes", name)
    return cluster


def shown(service: ComputeService, cluster: dict[str, Any]) -> dict[str, Any]:
    """The cluster with the nodes it has now."""
    busy = service.nodes.busy(cluster["name"])
    inner = {
        **cluster["properties"]["properties"],
        "allocationState": "Steady",
        "currentNodeCount": busy,
        "targetNodeCount": busy,
        "nodeStateCounts": {"runningNodeCount": busy, "idleNodeCount": 0},
    }
    return {**cluster, "properties": {**cluster["properties"], "properties": inner}}


async def get_compute(service: ComputeService, request: Request) -> Response:
    return JSONResponse(shown(service, find(service, request)))


async def list_computes(service: ComputeService, request: Request) -> Response:
    clusters = service.clusters.all()
    return page(request, [shown(service, cluster) for cluster in clusters])


async def put_compute(service: ComputeService, request: Request) -> Response:
    """Accept the cluster at once; the client follows the operation until it is ready."""
    name = request.path_params["name"]
    body = await body_of(request)
    properties = body.get("properties") or {}
    _check(service, name, properties)
    known = service.clusters.get(name)
    _check_fixed(known, properties)
    if known is not None and service.operations.busy(name.lower()):
        raise ArmError(409, "Conflict", f"Compute '{name}' is being changed; try again later.")
    created = known["systemData"] if known else system_data(service.clock.now())
    cluster = {
        "id": f"{service.config.workspace_id}/computes/{name}",
        "name": name,
        "type": f"{TYPE}/computes",
        "location": body.get("location") or REGION,
        "tags": body.get("tags") or {},
        "properties": {
            **properties,
            "properties": {"vmPriority": "Dedicated", **(properties.get("properties") or {})},
            "provisioningState": "Updating" if known else "Creating",
            "createdOn": created["createdAt"],
        },
        "systemData": created,
    }
    service.clusters.store.put(KIND, name.lower(), cluster)
    await service.nodes.rescaled(name)
    return service.operations.accept(
        request, "compute.create", name.lower(), shown(service, cluster), 200 if known else 201
    )


def _check(service: ComputeService, name: str, properties: dict[str, Any]) -> None:
    kind = properties.get("computeType")
    if kind != "AmlCompute":
        raise NotEmulated(f"compute type '{kind}'; this emulator has 'AmlCompute'.")
    if not NAME.fullmatch(name):
        raise ArmError(400, "InvalidComputeName", f"The compute name '{name}' is not valid.")
    size = (properties.get("properties") or {}).get("vmSize") or ""
    if service.catalogue.vm_size(size) is None:
        text = f"The specified vmSize '{size}' is not supported in this region."
        raise ArmError(400, "InvalidVmSize", text)


def _check_fixed(known: dict[str, Any] | None, properties: dict[str, Any]) -> None:
    """A cluster's size and priority stay as they were made. Raises ArmError 400."""
    if known is None:
        return
    before, after = known["properties"]["properties"], properties.get("properties") or {}
    for name in ("vmSize", "vmPriority"):
        given = str(after.get(name) or before[name])
        if given.lower() != str(before[name]).lower():
            text = f"The {name} of a compute cannot be changed from {before[name]} to {given}."
            raise ArmError(400, "UserError", text)


async def delete_compute(service: ComputeService, request: Request) -> Response:
    """Delete the cluster; the SDK says whether the machine goes or is only detached."""
    name = request.path_params["name"]
    cluster = service.clusters.get(name)
    if cluster is None:
        return Response(status_code=204)
    await service.operations.stop(name.lower())
    cluster["properties"]["provisioningState"] = "Deleting"
    service.clusters.store.put(KIND, name.lower(), cluster)
    return service.operations.accept(request, "compute.delete", name.lower(), None, 202)


async def list_nodes(service: ComputeService, request: Request) -> Response:
    """The nodes that run a step now; they have no addresses, being processes."""
    cluster = find(service, request)
    busy = service.nodes.busy(cluster["name"])
    nodes = [{"nodeId": f"{cluster['name']}_{i}", "nodeState": "running"} for i in range(busy)]
    return JSONResponse({"nodes": nodes})


ROUTES: Routes[ComputeService] = [
    ("GET", WORKSPACE + "/computes", list_computes),
    ("GET", PATH, get_compute),
    ("PUT", PATH, put_compute),
    ("DELETE", PATH, delete_compute),
    ("POST", PATH + "/listNodes", list_nodes),
]
