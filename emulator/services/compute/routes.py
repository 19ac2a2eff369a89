"""Clusters on ARM: create, scale, get, list, delete."""

import re
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from emulator.configuration import REGION
from emulator.protocol.errors import ArmError, NotEmulated, not_found
from emulator.protocol.resources import (
    TYPE,
    WORKSPACE,
    accepted,
    body_of,
    emulator_of,
    page,
    system_data,
)
from emulator.services.compute.clusters import KIND

PATH = WORKSPACE + "/computes/{name}"
NAME = re.compile(r"[a-zA-Z][a-zA-Z0-9-]{0,30}[a-zA-Z0-9]")


def find(request: Request) -> dict[str, Any]:
    """The cluster that the path names. Raises ArmError 404."""
    name = request.path_params["name"]
    found = emulator_of(request).computes.get(name)
    if found is None:
        raise not_found("workspaces/computes", name)
    return found


def shown(request: Request, cluster: dict[str, Any]) -> dict[str, Any]:
    """The cluster with the nodes it has now."""
    busy = emulator_of(request).nodes.busy(cluster["name"])
    inner = {
        **cluster["properties"]["properties"],
        "allocationState": "Steady",
        "currentNodeCount": busy,
        "targetNodeCount": busy,
        "nodeStateCounts": {"runningNodeCount": busy, "idleNodeCount": 0},
    }
    return {**cluster, "properties": {**cluster["properties"], "properties": inner}}


async def get_compute(request: Request) -> Response:
    return JSONResponse(shown(request, find(request)))


async def list_computes(request: Request) -> Response:
    found = emulator_of(request).store.list(KIND)
    return page(request, [shown(request, one) for one in found])


async def put_compute(request: Request) -> Response:
    """Accept the cluster at once; the client follows the operation until it is ready."""
    emulator = emulator_of(request)
    name = request.path_params["name"]
    body = await body_of(request)
    properties = body.get("properties") or {}
    _check(request, name, properties)
    known = emulator.computes.get(name)
    _check_fixed(known, properties)
    if known is not None and emulator.operations.busy(name.lower()):
        raise ArmError(409, "Conflict", f"Compute '{name}' is being changed; try again later.")
    created = known["systemData"] if known else system_data(emulator.clock.now())
    cluster = {
        "id": f"{emulator.config.workspace_id}/computes/{name}",
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
    emulator.store.put(KIND, name.lower(), cluster)
    operation = emulator.operations.begin("compute.create", name.lower())
    await emulator.nodes.rescaled(name)
    return accepted(request, operation, shown(request, cluster), 200 if known else 201)


def _check(request: Request, name: str, properties: dict[str, Any]) -> None:
    kind = properties.get("computeType")
    if kind != "AmlCompute":
        raise NotEmulated(f"compute type '{kind}'; this emulator has 'AmlCompute'.")
    if not NAME.fullmatch(name):
        raise ArmError(400, "InvalidComputeName", f"The compute name '{name}' is not valid.")
    size = (properties.get("properties") or {}).get("vmSize") or ""
    if emulator_of(request).computes.size(size) is None:
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


async def delete_compute(request: Request) -> Response:
    """Delete the cluster; the SDK says whether the machine goes or is only detached."""
    emulator = emulator_of(request)
    name = request.path_params["name"]
    cluster = emulator.computes.get(name)
    if cluster is None:
        return Response(status_code=204)
    await emulator.operations.stop(name.lower())
    cluster["properties"]["provisioningState"] = "Deleting"
    emulator.store.put(KIND, name.lower(), cluster)
    operation = emulator.operations.begin("compute.delete", name.lower())
    return accepted(request, operation, None, 202)


async def list_nodes(request: Request) -> Response:
    """The nodes that run a step now; they have no addresses, being processes."""
    cluster = find(request)
    busy = emulator_of(request).nodes.busy(cluster["name"])
    nodes = [{"nodeId": f"{cluster['name']}_{i}", "nodeState": "running"} for i in range(busy)]
    return JSONResponse({"nodes": nodes})


ROUTES = [
    Route(WORKSPACE + "/computes", list_computes, methods=["GET"]),
    Route(PATH, get_compute, methods=["GET"]),
    Route(PATH, put_compute, methods=["PUT"]),
    Route(PATH, delete_compute, methods=["DELETE"]),
    Route(PATH + "/listNodes", list_nodes, methods=["POST"]),
]
