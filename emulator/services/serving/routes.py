"""Online endpoints and deployments on ARM: put, get, list, delete, keys, logs."""

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
from emulator.protocol.paging import ordered, page
from emulator.protocol.resources import TYPE, WORKSPACE, body_of, state, system_data, touched
from emulator.protocol.routing import Routes
from emulator.services.compute.quotas import Quotas
from emulator.services.serving import credentials, preparation
from emulator.services.serving.endpoints import (
    DEPLOYMENT,
    ENDPOINT,
    Serving,
    deployment_key,
)
from emulator.services.serving.limits import (
    check_count,
    check_deployment,
    check_endpoint,
    check_fixed,
    check_lives,
)

PATH = WORKSPACE + "/onlineEndpoints/{endpoint}"
DEPLOYMENTS = PATH + "/deployments"
NAME = re.compile(r"(?=.{3,32}$)[a-zA-Z](?:-?[a-zA-Z0-9])*")
INFERENCE, INITIALIZER = "InferenceServer", "StorageInitializer"
BUSY = ("Creating", "Updating", "Deleting")


@dataclass(frozen=True)
class EndpointService:
    """What the routes of endpoints and deployments ask."""

    config: Configuration
    clock: Clock
    catalogue: Catalogue
    operations: Operations
    serving: Serving
    quotas: Quotas


def find_endpoint(service: EndpointService, request: Request) -> dict[str, Any]:
    """The endpoint that the path names. Raises ArmError 404."""
    name = request.path_params["endpoint"]
    endpoint = service.serving.endpoint(name)
    if endpoint is None:
        raise not_found("workspaces/onlineEndpoints", name)
    return endpoint


def find_deployment(service: EndpointService, request: Request) -> dict[str, Any]:
    """The deployment that the path names. Raises ArmError 404."""
    endpoint = find_endpoint(service, request)["name"]
    name = request.path_params["deployment"]
    deployment = service.serving.deployment(endpoint, name)
    if deployment is None:
        raise not_found("workspaces/onlineEndpoints/deployments", f"{endpoint}/{name}")
    return deployment


def _check_name(name: str, kind: str) -> None:
    if not NAME.fullmatch(name):
        raise ArmError(
            400,
            "BadArgument",
            f"The {kind} name '{name}' is not valid: 3 to 32 letters, digits and single '-', "
            "beginning with a letter and ending with a letter or digit.",
        )


def _check_idle(body: dict[str, Any] | None, what: str) -> None:
    if body is not None and state(body) in BUSY:
        raise ArmError(
            409,
            "Conflict",
            f"Another operation is in progress on {what} (its state is {state(body)}). "
            "Please wait for it to finish before starting a new one.",
        )


async def list_endpoints(service: EndpointService, request: Request) -> Response:
    query = request.query_params
    kind = (query.get("computeType") or "Managed").lower()
    found = [
        addressed(one)
        for one in service.serving.endpoints()
        if _tagged(one, query.get("tags"))
        and one["name"].lower() == (query.get("name") or one["name"]).lower()
        and one["kind"].lower() == kind
    ]
    honoured = ("tags", "name", "computeType", "orderBy")
    return page(request, ordered(found, query.get("orderBy")), honoured)


def _tagged(endpoint: dict[str, Any], wanted: str | None) -> bool:
    """``tags=a,b=c``: has tag a, and tag b with the value c."""
    tags = endpoint.get("tags") or {}
    for tag in filter(None, (wanted or "").split(",")):
        key, _, value = tag.partition("=")
        if key not in tags or (value and tags[key] != value):
            return False
    return True


async def get_endpoint(service: EndpointService, request: Request) -> Response:
    return JSONResponse(addressed(find_endpoint(service, request)))


def addressed(endpoint: dict[str, Any]) -> dict[str, Any]:
    """The endpoint as it is told: it has no address while it is being created."""
    if state(endpoint) != "Creating":
        return endpoint
    none = {"scoringUri": None, "swaggerUri": None}
    return {**endpoint, "properties": {**endpoint["properties"], **none}}


async def put_endpoint(service: EndpointService, request: Request) -> Response:
    """Create the endpoint, or change its traffic and tags."""
    name = request.path_params["endpoint"]
    _check_name(name, "endpoint")
    body = await body_of(request)
    given = body.get("properties") or {}
    known = service.serving.endpoint(name)
    _check_idle(known, f"endpoint '{name}'")
    check_endpoint(service.serving, name, given, known)
    check_fixed(known, body, "location", "authMode")
    scoring = f"https://{name}.{REGION}.inference.{service.config.suffix}"
    endpoint = {
        "id": f"{service.config.workspace_id}/onlineEndpoints/{name}",
        "name": name,
        "type": f"{TYPE}/onlineEndpoints",
        "location": body.get("location") or REGION,
        "tags": body.get("tags") or {},
        "kind": body.get("kind") or "Managed",
        "identity": {"type": "SystemAssigned", "principalId": service.config.identity.principal},
        "properties": {
            "authMode": given.get("authMode") or "Key",
            "description": given.get("description"),
            "properties": given.get("properties") or _properties(known),
            "traffic": given.get("traffic") or {},
            "mirrorTraffic": given.get("mirrorTraffic") or {},
            "publicNetworkAccess": given.get("publicNetworkAccess") or "Enabled",
            "scoringUri": f"{scoring}/score",
            "swaggerUri": f"{scoring}/swagger.json",
            "compute": None,
            "provisioningState": "Updating" if known else "Creating",
        },
        "systemData": _system(known, service.clock.now()),
    }
    service.serving.store.put(ENDPOINT, name.lower(), endpoint)
    if known is None and given.get("keys"):
        service.serving.begin_keys(name, given["keys"])
    status = 200 if known else 201
    told = addressed(endpoint)
    return service.operations.accept(request, "endpoint.create", name.lower(), told, status)


def _system(known: dict[str, Any] | None, now: float) -> dict[str, str]:
    return touched(known["systemData"], now) if known else system_data(now)


def _properties(known: dict[str, Any] | None) -> dict[str, str]:
    return dict(known["properties"].get("properties") or {}) if known else {}


async def delete_endpoint(service: EndpointService, request: Request) -> Response:
    """Delete the endpoint with its deployments; what is not there is gone already."""
    name = request.path_params["endpoint"]
    endpoint = service.serving.endpoint(name)
    if endpoint is None:
        return Response(status_code=204)
    if state(endpoint) != "Deleting":  # deleting twice is one deletion
        _check_idle(endpoint, f"endpoint '{name}'")
        for deployment in service.serving.deployments(name):
            _check_idle(deployment, f"deployment '{deployment['name']}'")
        endpoint["properties"]["provisioningState"] = "Deleting"
        service.serving.store.put(ENDPOINT, name.lower(), endpoint)
    return service.operations.accept(request, "endpoint.delete", name.lower(), None, 202)


async def list_keys(service: EndpointService, request: Request) -> Response:
    endpoint = find_endpoint(service, request)
    credentials.check_mode(endpoint, credentials.KEY)
    return JSONResponse(service.serving.keys(endpoint["name"]))


async def get_token(service: EndpointService, request: Request) -> Response:
    endpoint = find_endpoint(service, request)
    credentials.check_mode(endpoint, credentials.AML_TOKEN)
    return JSONResponse(credentials.endpoint_token(service.config, service.clock, endpoint))


async def regenerate_keys(service: EndpointService, request: Request) -> Response:
    endpoint = find_endpoint(service, request)
    credentials.check_mode(endpoint, credentials.KEY)
    body = await body_of(request)
    kind = str(body.get("keyType") or "Primary").lower()
    if kind not in ("primary", "secondary"):
        raise ArmError(400, "BadArgument", f"'{kind}' is not a key: Primary or Secondary.")
    service.serving.regenerate(endpoint["name"], f"{kind}Key", body.get("keyValue"))
    return Response(status_code=200)


async def list_deployments(service: EndpointService, request: Request) -> Response:
    deployments = service.serving.deployments(find_endpoint(service, request)["name"])
    rows = [shown(deployment) for deployment in deployments]
    return page(request, ordered(rows, request.query_params.get("$orderBy")), ("$orderBy",))


def shown(deployment: dict[str, Any]) -> dict[str, Any]:
    """The deployment without what is only ours."""
    return {key: value for key, value in deployment.items() if key != "endpoint"}


async def get_deployment(service: EndpointService, request: Request) -> Response:
    return JSONResponse(shown(find_deployment(service, request)))


async def put_deployment(service: EndpointService, request: Request) -> Response:
    """Start to bring the deployment up; a second put of the same name updates it."""
    endpoint = find_endpoint(service, request)
    name = request.path_params["deployment"]
    _check_name(name, "deployment")
    body = await body_of(request)
    given = body.get("properties") or {}
    known = service.serving.deployment(endpoint["name"], name)
    if state(endpoint) in ("Creating", "Deleting"):
        _check_idle(endpoint, f"endpoint '{endpoint['name']}'")
    _check_idle(known, f"deployment '{name}'")
    count = int((body.get("sku") or {}).get("capacity", 1))
    check_deployment(service.catalogue, given, count)
    check_fixed(known, body, "location", "instanceType")
    if known is None:
        check_lives(service.catalogue, str(given.get("instanceType")), service.clock.now())
        check_count(service.serving, endpoint["name"])
    service.quotas.check_deployment(str(given.get("instanceType")), count, known)
    deployment = {
        "id": f"{endpoint['id']}/deployments/{name}",
        "name": name,
        "endpoint": endpoint["name"],
        "type": f"{TYPE}/onlineEndpoints/deployments",
        "location": body.get("location") or REGION,
        "tags": body.get("tags") or {},
        "kind": "Managed",
        "sku": {**(body.get("sku") or {}), "name": "Default", "capacity": count},
        "properties": {
            **given,
            "endpointComputeType": given.get("endpointComputeType") or "Managed",
            "scaleSettings": given.get("scaleSettings") or {"scaleType": "Default"},
            "provisioningState": "Updating" if known else "Creating",
        },
        "systemData": _system(known, service.clock.now()),
    }
    key = deployment_key(endpoint["name"], name)
    service.serving.store.put(DEPLOYMENT, key, deployment)
    status = 200 if known else 201
    return service.operations.accept(request, "deployment.create", key, shown(deployment), status)


async def delete_deployment(service: EndpointService, request: Request) -> Response:
    endpoint = find_endpoint(service, request)
    name = request.path_params["deployment"]
    deployment = service.serving.deployment(endpoint["name"], name)
    if deployment is None:
        return Response(status_code=204)
    if (endpoint["properties"].get("traffic") or {}).get(name):
        text = f"Cannot delete deployment '{name}': it has live traffic. Set its traffic to 0."
        raise ArmError(400, "BadArgument", text)
    key = deployment_key(endpoint["name"], name)
    if state(deployment) != "Deleting":
        _check_idle(deployment, f"deployment '{name}'")
    deployment["properties"]["provisioningState"] = "Deleting"
    service.serving.store.put(DEPLOYMENT, key, deployment)
    return service.operations.accept(request, "deployment.delete", key, None, 202)


async def get_logs(service: EndpointService, request: Request) -> Response:
    """The last lines of the scoring process's own log, or of what was put in place for it."""
    deployment = find_deployment(service, request)
    key = deployment_key(deployment["endpoint"], deployment["name"])
    asked = await body_of(request)
    wanted = int(asked.get("tail") or 100)
    path = service.serving.scorers.log_path(key)
    container = str(asked.get("containerType") or INFERENCE)
    if container == INITIALIZER:
        path = path.with_name(preparation.LOG)
    elif container != INFERENCE:
        raise NotEmulated(f"the container '{container}' of a deployment.")
    lines = path.read_text(errors="replace").splitlines() if path.exists() else []
    return JSONResponse({"content": "\n".join(lines[-wanted:])})


ROUTES: Routes[EndpointService] = [
    ("GET", WORKSPACE + "/onlineEndpoints", list_endpoints),
    ("GET", PATH, get_endpoint),
    ("PUT", PATH, put_endpoint),
    ("DELETE", PATH, delete_endpoint),
    ("POST", PATH + "/listKeys", list_keys),
    ("POST", PATH + "/token", get_token),
    ("POST", PATH + "/regenerateKeys", regenerate_keys),
    ("GET", DEPLOYMENTS, list_deployments),
    ("GET", DEPLOYMENTS + "/{deployment}", get_deployment),
    ("PUT", DEPLOYMENTS + "/{deployment}", put_deployment),
    ("DELETE", DEPLOYMENTS + "/{deployment}", delete_deployment),
    ("POST", DEPLOYMENTS + "/{deployment}/getLogs", get_logs),
]
