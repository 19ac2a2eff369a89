"""Clusters on ARM: create, scale, get, list, delete."""

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
from emulator.protocol.resources import TYPE, WORKSPACE, body_of, system_data, touched
from emulator.protocol.routing import Routes
from emulator.protocol.rules import NODES
from emulator.services.compute.clusters import Clusters
from emulator.services.compute.nodes import Nodes
from emulator.services.compute.quotas import KIND

PATH = WORKSPACE + "/computes/{name}"
#: What a cluster can ask for and a process of this machine cannot give.
NOT_THERE = ("subnet", "virtualMachineImage", "isolatedNetwork", "userAccountCredentials")


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
    pool = service.nodes.pool(cluster["name"])
    inner = {
        **cluster["properties"]["properties"],
        "allocationState": "Resizing" if pool.short else "Steady",
        "currentNodeCount": pool.up,
        "targetNodeCount": pool.up + pool.short,
        "nodeStateCounts": {"runningNodeCount": pool.busy, "idleNodeCount": pool.idle},
        "errors": [service.clusters.quotas.shortage(cluster)] if pool.short else None,
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
    known = service.clusters.get(name)
    _check(service, properties)
    _check_fixed(known, body)
    if known is None:
        _check_lives(service, properties.get("properties") or {})
    if known is not None and service.operations.busy(name.lower()):
        raise ArmError(409, "Conflict", f"Compute '{name}' is being changed; try again later.")
    created = _system(known, service.clock.now())
    cluster = {
        "id": f"{service.config.workspace_id}/computes/{name}",
        "name": name,
        "type": f"{TYPE}/computes",
        "location": body.get("location") or REGION,
        "tags": body.get("tags") or {},
        "properties": {
            "computeLocation": body.get("location") or REGION,
            **properties,
            "properties": {"vmPriority": "Dedicated", **(properties.get("properties") or {})},
            "provisioningState": "Updating" if known else "Creating",
            "createdOn": created["createdAt"],
        },
        "systemData": created,
    }
    service.clusters.store.put(KIND, name.lower(), cluster)
    await service.nodes.look_again()
    return service.operations.accept(
        request, "compute.create", name.lower(), shown(service, cluster), 201
    )


def _system(known: dict[str, Any] | None, now: float) -> dict[str, str]:
    return touched(known["systemData"], now) if known else system_data(now)


def _check(service: ComputeService, properties: dict[str, Any]) -> None:
    """Raises ArmError 400, NotEmulated."""
    kind = properties.get("computeType")
    if str(kind).lower() != "amlcompute":
        raise NotEmulated(f"compute type '{kind}'; this emulator has 'AmlCompute'.")
    inner = properties.get("properties") or {}
    for name in NOT_THERE:
        if inner.get(name):
            raise NotEmulated(f"a cluster's {name}: its nodes are processes of this machine.")
    if str(inner.get("osType") or "Linux").lower() != "linux":
        raise NotEmulated(f"a cluster's osType '{inner['osType']}'.")
    size = inner.get("vmSize") or ""
    if service.catalogue.vm_size(size) is None:
        text = f"The specified vmSize '{size}' is not supported in this region."
        raise ArmError(400, "InvalidVmSize", text)
    scale = inner.get("scaleSettings") or {}
    least, most = int(scale.get("minNodeCount") or 0), int(scale.get("maxNodeCount", 1))
    if not 0 <= least <= most <= NODES:
        text = f"{least} to {most} nodes: a cluster has 0 to {NODES}, the least not above the most."
        raise ArmError(400, "UserError", text)


def _check_lives(service: ComputeService, inner: dict[str, Any]) -> None:
    """Raises ArmError 400: a size, or a kind of node, of which nothing new can be made."""
    now, size = service.clock.now(), str(inner.get("vmSize") or "")
    if since := service.catalogue.retired(size, now):
        text = f"The vmSize '{size}' was retired on {since} and can no longer be provisioned."
        raise ArmError(400, "InvalidVmSize", text)
    low = str(inner.get("vmPriority") or "").lower() == "lowpriority"
    if low and (since := service.catalogue.low_priority_retired(now)):
        text = f"Low-priority nodes were retired on {since}; new clusters have dedicated ones."
        raise ArmError(400, "UserError", text)


def _check_fixed(known: dict[str, Any] | None, body: dict[str, Any]) -> None:
    """A cluster's size, priority and place stay as they were made. Raises ArmError 400."""
    if known is None:
        return
    before, after = _fixed(known), _fixed(body)
    for name, was in before.items():
        given = after[name] if after[name] is not None else was
        if was is not None and str(given).lower() != str(was).lower():
            text = f"The {name} of a compute cannot be changed from {was} to {given}."
            raise ArmError(400, "UserError", text)


def _fixed(resource: dict[str, Any]) -> dict[str, Any]:
    outer = resource.get("properties") or {}
    inner = outer.get("properties") or {}
    return {
        "location": resource.get("location"),
        "computeLocation": outer.get("computeLocation"),
        "disableLocalAuth": outer.get("disableLocalAuth"),
        "vmSize": inner.get("vmSize"),
        "vmPriority": inner.get("vmPriority"),
    }


async def delete_compute(service: ComputeService, request: Request) -> Response:
    """Delete the cluster; the SDK says whether the machine goes or is only detached."""
    name = request.path_params["name"]
    cluster = service.clusters.get(name)
    if cluster is None:
        return Response(status_code=204)
    await service.operations.stop(name.lower())
    await service.nodes.forget(name)
    cluster["properties"]["provisioningState"] = "Deleting"
    service.clusters.store.put(KIND, name.lower(), cluster)
    return service.operations.accept(request, "compute.delete", name.lower(), None, 202)


async def list_nodes(service: ComputeService, request: Request) -> Response:
    """The nodes that are up; they have no addresses, being processes."""
    cluster = find(service, request)
    pool = service.nodes.pool(cluster["name"])
    states = ["running"] * pool.busy + ["idle"] * pool.idle
    nodes = [
        {"nodeId": f"{cluster['name']}_{number}", "nodeState": state}
        for number, state in enumerate(states)
    ]
    return JSONResponse({"nodes": nodes})


ROUTES: Routes[ComputeService] = [
    ("GET", WORKSPACE + "/computes", list_computes),
    ("GET", PATH, get_compute),
    ("PUT", PATH, put_compute),
    ("DELETE", PATH, delete_compute),
    ("POST", PATH + "/listNodes", list_nodes),
]
