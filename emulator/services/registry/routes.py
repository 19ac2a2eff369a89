"""The registries: their models and components, read only, as the catalogue has them."""

from dataclasses import dataclass
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from emulator.catalogue import Catalogue
from emulator.configuration import REGION, Configuration
from emulator.protocol.errors import ArmError, NotEmulated
from emulator.protocol.paging import page
from emulator.protocol.registries import registry_named
from emulator.protocol.routing import Routes

PATH = (
    "/subscriptions/{subscription}/resourceGroups/{group}"
    "/providers/Microsoft.MachineLearningServices/registries/{registry}"
)


@dataclass(frozen=True)
class RegistryService:
    """What the registries' routes ask."""

    config: Configuration
    catalogue: Catalogue


def _versions(service: RegistryService, request: Request) -> list[dict[str, Any]]:
    """All versions of all assets of the kind. Raises ArmError 404, NotEmulated: others."""
    names = request.path_params
    registry = registry_named(service.catalogue, names["registry"])
    kinds = {"models": registry.models, "components": registry.components}
    if names["kind"].lower() not in kinds:
        raise NotEmulated(f"{names['kind']} of a registry; there are {' and '.join(kinds)}.")
    return kinds[names["kind"].lower()]


def _entries(service: RegistryService, request: Request) -> list[dict[str, Any]]:
    """All versions of the named asset, the newest first."""
    name = request.path_params["name"].lower()
    versions = [entry for entry in _versions(service, request) if entry["name"].lower() == name]
    return sorted(versions, key=lambda entry: str(entry["created"]), reverse=True)


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


async def list_containers(service: RegistryService, request: Request) -> Response:
    names = dict.fromkeys(entry["name"] for entry in _versions(service, request))
    return page(request, [_container(service, request, name) for name in names], ("listViewType",))


async def list_versions(service: RegistryService, request: Request) -> Response:
    """The versions, the newest first unless ``$orderBy`` says ``asc``."""
    entries = _entries(service, request)
    if request.query_params.get("$orderBy", "").lower().endswith(" asc"):
        entries.reverse()
    honoured = ("$orderBy", "listViewType")
    return page(request, [_shown(request, entry) for entry in entries], honoured)


async def get_version(service: RegistryService, request: Request) -> Response:
    version = request.path_params["version"]
    for entry in _entries(service, request):
        if entry["version"] == version:
            return JSONResponse(_shown(request, entry))
    raise _missing(request, version)


async def get_container(service: RegistryService, request: Request) -> Response:
    """The asset without a version: which one is the latest, which would come next."""
    entries = _entries(service, request)
    if not entries:
        raise _missing(request)
    return JSONResponse(_container(service, request, entries[0]["name"]))


def _container(service: RegistryService, request: Request, name: str) -> dict[str, Any]:
    versions = [entry for entry in _versions(service, request) if entry["name"] == name]
    newest = max(versions, key=lambda entry: str(entry["created"]))
    names = request.path_params
    return {
        "id": f"azureml://registries/{names['registry']}/{names['kind']}/{name}",
        "name": name,
        "type": f"Microsoft.MachineLearningServices/registries/{names['kind']}",
        "properties": {
            "latestVersion": newest["version"],
            "isArchived": False,
            "tags": {},
            "properties": {},
        },
        "systemData": {"createdAt": newest["created"], "createdBy": "Microsoft"},
    }


async def get_registry(service: RegistryService, request: Request) -> Response:
    name = registry_named(service.catalogue, request.path_params["registry"]).name
    return JSONResponse(
        {
            "id": request.url.path,
            "name": name,
            "location": REGION,
            "type": "Microsoft.MachineLearningServices/registries",
            "properties": {
                "discoveryUrl": f"https://{service.config.api_host}/registrymanagement/v1.0"
                f"/registries/{name}/discovery",
                "managedResourceGroup": {"resourceId": ""},
                "regionDetails": [],
            },
        }
    )


def _routes(prefix: str) -> Routes[RegistryService]:
    asset = prefix + PATH + "/{kind:str}/{name}"
    return [
        ("GET", prefix + PATH, get_registry),
        ("GET", prefix + PATH + "/{kind:str}", list_containers),
        ("GET", asset, get_container),
        ("GET", asset + "/versions", list_versions),
        ("GET", asset + "/versions/{version}", get_version),
    ]


ROUTES: Routes[RegistryService] = _routes("/mferp/managementfrontend")
MANAGEMENT: Routes[RegistryService] = _routes("")
