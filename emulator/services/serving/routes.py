"""Online endpoints and deployments on ARM: put, get, list, delete, keys, logs."""

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
from emulator.services.serving.endpoints import DEPLOYMENT, ENDPOINT, deployment_key, seconds, state

PATH = WORKSPACE + "/onlineEndpoints/{endpoint}"
DEPLOYMENTS = PATH + "/deployments"
NAME = re.compile(r"[a-zA-Z](?:[-a-zA-Z0-9]{1,30})[a-zA-Z0-9]")
BUSY = ("Creating", "Updating", "Deleting")
MAX_TIMEOUT_S = 180
MAX_INSTANCES = 50


def find_endpoint(request: Request) -> dict[str, Any]:
    """The endpoint that the path names. Raises ArmError 404."""
    name = request.path_params["endpoint"]
    found = emulator_of(request).serving.endpoint(name)
    if found is None:
        raise not_found("workspaces/onlineEndpoints", name)
    return found


def find_deployment(request: Request) -> dict[str, Any]:
    """The deployment that the path names. Raises ArmError 404."""
    endpoint = find_endpoint(request)["name"]
    name = request.path_params["deployment"]
    found = emulator_of(request).serving.deployment(endpoint, name)
    if found is None:
        raise not_found("workspaces/onlineEndpoints/deployments", f"{endpoint}/{name}")
    return found


def _check_name(name: str, kind: str) -> None:
    if not NAME.fullmatch(name):
        raise ArmError(
            400,
            "BadArgument",
            f"The {kind} name '{name}' is not valid: 3 to 32 letters, digits and '-', beginning "
            "with a letter and ending with a letter or digit.",
        )


def _check_idle(body: dict[str, Any] | None, what: str) -> None:
    if body is not None and state(body) in BUSY:
        raise ArmError(
            409,
            "Conflict",
            f"Another operation is in progress on {what} (its state is {state(body)}). "
            "Please wait for it to finish before starting a new one.",
        )


async def list_endpoints(request: Request) -> Response:
    wanted = request.query_params.get("tags")
    found = [one for one in emulator_of(request).serving.endpoints() if _tagged(one, wanted)]
    return page(request, found)


def _tagged(endpoint: dict[str, Any], wanted: str | None) -> bool:
    """``tags=a,b=c``: has tag a, and tag b with the value c."""
    tags = endpoint.get("tags") or {}
    for one in filter(None, (wanted or "").split(",")):
        key, _, value = one.partition("=")
        if key not in tags or (value and tags[key] != value):
            return False
    return True


async def get_endpoint(request: Request) -> Response:
    return JSONResponse(find_endpoint(request))


async def put_endpoint(request: Request) -> Response:
    """Create the endpoint, or change its traffic and tags."""
    emulator = emulator_of(request)
    name = request.path_params["endpoint"]
    _check_name(name, "endpoint")
    body = await body_of(request)
    given = body.get("properties") or {}
    if str(given.get("authMode") or "Key").lower() != "key":
        raise NotEmulated("an endpoint's authMode other than 'Key'.")
    known = emulator.serving.endpoint(name)
    _check_idle(known, f"endpoint '{name}'")
    _check_traffic(request, given.get("traffic") or {}, name)
    scoring = f"https://{name}.{REGION}.inference.{emulator.config.suffix}"
    endpoint = {
        "id": f"{emulator.config.workspace_id}/onlineEndpoints/{name}",
        "name": name,
        "type": f"{TYPE}/onlineEndpoints",
        "location": body.get("location") or REGION,
        "tags": body.get("tags") or {},
        "kind": body.get("kind") or "Managed",
        "identity": {"type": "SystemAssigned", "principalId": emulator.config.identity.principal},
        "properties": {
            "authMode": given.get("authMode") or "Key",
            "description": given.get("description"),
            "properties": given.get("properties") or {},
            "traffic": given.get("traffic") or {},
            "mirrorTraffic": given.get("mirrorTraffic") or {},
            "publicNetworkAccess": given.get("publicNetworkAccess") or "Enabled",
            "scoringUri": f"{scoring}/score",
            "swaggerUri": f"{scoring}/swagger.json",
            "compute": None,
            "provisioningState": "Updating" if known else "Creating",
        },
        "systemData": known["systemData"] if known else system_data(emulator.clock.now()),
    }
    emulator.store.put(ENDPOINT, name.lower(), endpoint)
    operation = emulator.operations.begin("endpoint.create", name.lower())
    return accepted(request, operation, endpoint, 200 if known else 201)


def _check_traffic(request: Request, traffic: dict[str, Any], endpoint: str) -> None:
    serving = emulator_of(request).serving
    for name in traffic:
        if serving.deployment(endpoint, name) is None:
            text = f"Traffic names the deployment '{name}', which does not exist."
            raise ArmError(400, "BadArgument", text)
    if traffic and sum(int(share) for share in traffic.values()) not in (0, 100):
        raise ArmError(400, "BadArgument", "The traffic of all deployments must sum to 0 or 100.")


async def delete_endpoint(request: Request) -> Response:
    """Delete the endpoint with its deployments; what is not there is gone already."""
    emulator = emulator_of(request)
    name = request.path_params["endpoint"]
    found = emulator.serving.endpoint(name)
    if found is None:
        return Response(status_code=204)
    if state(found) != "Deleting":  # deleting twice is one deletion
        _check_idle(found, f"endpoint '{name}'")
        for deployment in emulator.serving.deployments(name):
            _check_idle(deployment, f"deployment '{deployment['name']}'")
        found["properties"]["provisioningState"] = "Deleting"
        emulator.store.put(ENDPOINT, name.lower(), found)
    operation = emulator.operations.begin("endpoint.delete", name.lower())
    return accepted(request, operation, None, 202)


async def list_keys(request: Request) -> Response:
    endpoint = find_endpoint(request)
    return JSONResponse(emulator_of(request).serving.keys(endpoint["name"]))


async def regenerate_keys(request: Request) -> Response:
    endpoint = find_endpoint(request)
    body = await body_of(request)
    kind = str(body.get("keyType") or "Primary").lower()
    if kind not in ("primary", "secondary"):
        raise ArmError(400, "BadArgument", f"'{kind}' is not a key: Primary or Secondary.")
    serving = emulator_of(request).serving
    serving.regenerate(endpoint["name"], f"{kind}Key", body.get("keyValue"))
    return Response(status_code=200)


async def list_deployments(request: Request) -> Response:
    endpoint = find_endpoint(request)["name"]
    return page(request, [shown(one) for one in emulator_of(request).serving.deployments(endpoint)])


def shown(deployment: dict[str, Any]) -> dict[str, Any]:
    """The deployment without what is only ours."""
    return {key: value for key, value in deployment.items() if key != "endpoint"}


async def get_deployment(request: Request) -> Response:
    return JSONResponse(shown(find_deployment(request)))


async def put_deployment(request: Request) -> Response:
    """Start to bring the deployment up; a second put of the same name updates it."""
    emulator = emulator_of(request)
    endpoint = find_endpoint(request)
    name = request.path_params["deployment"]
    _check_name(name, "deployment")
    body = await body_of(request)
    given = body.get("properties") or {}
    known = emulator.serving.deployment(endpoint["name"], name)
    if state(endpoint) in ("Creating", "Deleting"):
        _check_idle(endpoint, f"endpoint '{endpoint['name']}'")
    _check_idle(known, f"deployment '{name}'")
    count = (body.get("sku") or {}).get("capacity") or 1
    _check_deployment(request, given, count)
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
        "systemData": known["systemData"] if known else system_data(emulator.clock.now()),
    }
    key = deployment_key(endpoint["name"], name)
    emulator.store.put(DEPLOYMENT, key, deployment)
    operation = emulator.operations.begin("deployment.create", key)
    return accepted(request, operation, shown(deployment), 200 if known else 201)


def _check_deployment(request: Request, given: dict[str, Any], count: Any) -> None:
    """Raises ArmError 400: what Azure refuses at once; NotEmulated: what is not served here."""
    if not isinstance(count, int) or not 1 <= count <= MAX_INSTANCES:
        text = f"The instance count {count!r} is not between 1 and {MAX_INSTANCES}."
        raise ArmError(400, "BadArgument", text)
    model = str(given.get("model") or "")
    if not model or "/registries/" in model:
        raise NotEmulated(f"a deployment of '{model}': only models of the workspace are served.")
    size = str(given.get("instanceType") or "")
    if emulator_of(request).computes.size(size) is None:
        text = f"Instance type '{size}' is not supported for managed online endpoints."
        raise ArmError(400, "BadArgument", text)
    timeout = (given.get("requestSettings") or {}).get("requestTimeout")
    if timeout and not 0 < seconds(timeout) <= MAX_TIMEOUT_S:
        text = f"requestTimeout {timeout} is not between 1 millisecond and {MAX_TIMEOUT_S} seconds."
        raise ArmError(400, "BadArgument", text)


async def delete_deployment(request: Request) -> Response:
    emulator = emulator_of(request)
    endpoint = find_endpoint(request)
    name = request.path_params["deployment"]
    found = emulator.serving.deployment(endpoint["name"], name)
    if found is None:
        return Response(status_code=204)
    if (endpoint["properties"].get("traffic") or {}).get(name):
        text = f"Cannot delete deployment '{name}': it has live traffic. Set its traffic to 0."
        raise ArmError(400, "BadArgument", text)
    key = deployment_key(endpoint["name"], name)
    if state(found) != "Deleting":
        _check_idle(found, f"deployment '{name}'")
    found["properties"]["provisioningState"] = "Deleting"
    emulator.store.put(DEPLOYMENT, key, found)
    operation = emulator.operations.begin("deployment.delete", key)
    return accepted(request, operation, None, 202)


async def get_logs(request: Request) -> Response:
    """The last lines of the scoring process's own log."""
    found = find_deployment(request)
    key = deployment_key(found["endpoint"], found["name"])
    wanted = int((await body_of(request)).get("tail") or 100)
    path = emulator_of(request).serving.scorers.log_path(key)
    lines = path.read_text(errors="replace").splitlines() if path.exists() else []
    return JSONResponse({"content": "\n".join(lines[-wanted:])})


ROUTES = [
    Route(WORKSPACE + "/onlineEndpoints", list_endpoints, methods=["GET"]),
    Route(PATH, get_endpoint, methods=["GET"]),
    Route(PATH, put_endpoint, methods=["PUT"]),
    Route(PATH, delete_endpoint, methods=["DELETE"]),
    Route(PATH + "/listKeys", list_keys, methods=["POST"]),
    Route(PATH + "/regenerateKeys", regenerate_keys, methods=["POST"]),
    Route(DEPLOYMENTS, list_deployments, methods=["GET"]),
    Route(DEPLOYMENTS + "/{deployment}", get_deployment, methods=["GET"]),
    Route(DEPLOYMENTS + "/{deployment}", put_deployment, methods=["PUT"]),
    Route(DEPLOYMENTS + "/{deployment}", delete_deployment, methods=["DELETE"]),
    Route(DEPLOYMENTS + "/{deployment}/getLogs", get_logs, methods=["POST"]),
]
