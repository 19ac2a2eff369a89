"""The registry ``azureml``: its models and components, read only, as the catalogue has them."""

from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from emulator.arm import emulator_of, page
from emulator.errors import ArmError

REGISTRY = (
    "/subscriptions/{subscription}/resourceGroups/{group}"
    "/providers/Microsoft.MachineLearningServices/registries/{registry}"
)


def _entries(request: Request) -> list[dict[str, Any]]:
    """All versions of the named asset, the newest first."""
    catalogue = emulator_of(request).catalogue
    kind, name = request.path_params["kind"], request.path_params["name"]
    known = {"models": catalogue.models, "components": catalogue.components}.get(kind.lower(), [])
    found = [entry for entry in known if entry["name"].lower() == name.lower()]
    return sorted(found, key=lambda entry: str(entry["created"]), reverse=True)


def _shown(request: Request, entry: dict[str, Any]) -> dict[str, Any]:
    kind = request.path_params["kind"]
    names = request.path_params
    created = {"createdAt": entry["created"], "lastModifiedAt": entry["created"]}
    return {
        "id": f"azureml://registries/{names['registry']}/{kind}/{entry['name']}"
        f"/versions/{entry['version']}",
        "name": entry["version"],
        "type": f"Microsoft.MachineLearningServices/registries/{kind}/versions",
        "properties": entry["properties"],
        "systemData": {**created, "createdBy": "Microsoft", "createdByType": "User"},
    }


def _missing(request: Request, version: str = "") -> ArmError:
    names = request.path_params
    what = f"{names['name']}:{version}" if version else names["name"]
    text = f"The {names['kind'].rstrip('s')} '{what}' was not found in '{names['registry']}'."
    return ArmError(404, "UserError", text)


async def list_versions(request: Request) -> Response:
    return page(request, [_shown(request, entry) for entry in _entries(request)])


async def get_version(request: Request) -> Response:
    version = request.path_params["version"]
    for entry in _entries(request):
        if entry["version"] == version:
            return JSONResponse(_shown(request, entry))
    raise _missing(request, version)


async def get_container(request: Request) -> Response:
    """The asset without a version: which one is the latest, which would come next."""
    found = _entries(request)
    if not found:
        raise _missing(request)
    names = request.path_params
    return JSONResponse(
        {
            "id": f"azureml://registries/{names['registry']}/{names['kind']}/{found[0]['name']}",
            "name": found[0]["name"],
            "properties": {"latestVersion": found[0]["version"], "isArchived": False},
        }
    )


async def get_registry(request: Request) -> Response:
    emulator = emulator_of(request)
    name = request.path_params["registry"]
    return JSONResponse(
        {
            "id": request.url.path,
            "name": name,
            "location": "westeurope",
            "type": "Microsoft.MachineLearningServices/registries",
            "properties": {
                "discoveryUrl": f"https://{emulator.config.api_host}/registrymanagement/v1.0"
                f"/registries/{name}/discovery",
                "managedResourceGroup": {"resourceId": ""},
                "regionDetails": [],
            },
        }
    )


def _routes(prefix: str) -> list[Route]:
    asset = prefix + REGISTRY + "/{kind:str}/{name}"
    return [
        Route(prefix + REGISTRY, get_registry, methods=["GET"]),
        Route(asset, get_container, methods=["GET"]),
        Route(asset + "/versions", list_versions, methods=["GET"]),
        Route(asset + "/versions/{version}", get_version, methods=["GET"]),
    ]


ROUTES = _routes("/mferp/managementfrontend")
MANAGEMENT = _routes("")
