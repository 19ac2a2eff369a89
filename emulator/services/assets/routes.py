"""Versioned assets of the workspace: register, get, list, delete versions."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from emulator.clock import Clock
from emulator.configuration import Configuration
from emulator.protocol.errors import ArmError
from emulator.protocol.paging import ordered, page
from emulator.protocol.resources import TYPE, WORKSPACE, body_of, system_data
from emulator.protocol.routing import Routes
from emulator.services.assets import codes, components, environments
from emulator.services.assets.addresses import Locations, Unresolvable, long_form
from emulator.services.assets.versions import KINDS, Assets, address, job_of

NAME = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9._-]{0,254}")
VERSION = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9._-]{0,29}")
#: The versions of what the SDK names itself are hashes.
ANY_VERSION = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9._-]{0,254}")
#: What a version was made with, and keeps.
FIXED = (
    "modelUri", "dataUri", "modelType", "dataType", "codeUri", "componentSpec",
    "image", "condaFile", "build", "osType", "inferenceConfig",
)  # fmt: skip
#: Addresses that are answered in their long form.
LONG = {"modelUri", "dataUri"}
#: What the properties of a kind must be; the others must have bytes that are there.
CHECKS: dict[str, Callable[[dict[str, Any]], None]] = {
    "environments": environments.check,
    "components": components.check,
}
#: What the service adds to the properties of a kind.
SHOWN: dict[str, Callable[[dict[str, Any]], dict[str, Any]]] = {
    "environments": environments.shown,
    "codes": codes.shown,
}


@dataclass(frozen=True)
class AssetService:
    """What the routes of assets ask."""

    config: Configuration
    clock: Clock
    assets: Assets
    locations: Locations


def _kind(request: Request) -> str:
    kind: str = request.url.path.split("/workspaces/")[1].split("/")[1].lower()
    return kind


def _missing(request: Request) -> ArmError:
    names = request.path_params
    what = ":".join(filter(None, [names["name"], names.get("version")]))
    return ArmError(404, "UserError", f"Could not find {_kind(request)} asset '{what}'.")


async def get_version(service: AssetService, request: Request) -> Response:
    names = request.path_params
    kind, version = _kind(request), names["version"]
    if kind == "components" and version == components.DEFAULT:
        version = service.assets.latest(kind, names["name"])
    asset = service.assets.get(kind, names["name"], version)
    if asset is None:
        raise _missing(request)
    return JSONResponse(asset)


async def list_versions(service: AssetService, request: Request) -> Response:
    """The versions, the newest first; archived ones only where ``listViewType`` asks for them."""
    kind, name = _kind(request), request.path_params["name"]
    query = request.query_params
    wanted = _views(request)
    versions = [
        asset
        for asset in service.assets.versions(kind, name)
        if bool(asset["properties"].get("isArchived")) in wanted
        and asset["name"] == (query.get("version") or asset["name"])
        and codes.has_hash(asset, query.get("hash"))
    ]
    # Every content has one hash: there is one version of how it is computed.
    honoured = ("listViewType", "$orderBy", "version", "hash", "hashVersion")
    return page(request, ordered(versions, query.get("$orderBy")), honoured)


def _views(request: Request) -> tuple[bool, ...]:
    """Which values of ``isArchived`` are listed."""
    view = (request.query_params.get("listViewType") or "ActiveOnly").lower()
    return {"activeonly": (False,), "archivedonly": (True,)}.get(view, (False, True))


async def get_container(service: AssetService, request: Request) -> Response:
    """The asset without a version: the latest, and the number that would come next."""
    kind, name = _kind(request), request.path_params["name"]
    versions = service.assets.versions(kind, name)
    if not versions:
        raise _missing(request)
    return JSONResponse(_container(service, request, versions))


def _container(
    service: AssetService, request: Request, versions: list[dict[str, Any]]
) -> dict[str, Any]:
    kind, newest = _kind(request), versions[0]
    numbers = [int(version["name"]) for version in versions if version["name"].isdigit()]
    name = newest["id"].split("/versions/")[0].rsplit("/", 1)[1]
    return {
        "id": f"{service.config.workspace_id}/{kind}/{name}",
        "name": name,
        "type": f"{TYPE}/{kind}",
        "properties": {
            "latestVersion": newest["name"],
            "nextVersion": str(max(numbers, default=0) + 1),
            "isArchived": False,
            "dataType": newest["properties"].get("dataType"),
            "tags": {},
        },
        "systemData": newest["systemData"],
    }


async def list_containers(service: AssetService, request: Request) -> Response:
    containers: dict[str, list[dict[str, Any]]] = {}
    for asset in service.assets.all(_kind(request)):
        containers.setdefault(asset["id"].split("/versions/")[0].lower(), []).append(asset)
    rows = [_container(service, request, versions) for versions in containers.values()]
    there = [row for row in rows if row["properties"]["isArchived"] in _views(request)]
    return page(request, there, ("listViewType",))


async def put_version(service: AssetService, request: Request) -> Response:
    """Register a version. Its bytes are fixed; tags and description may be put again."""
    kind, names = _kind(request), request.path_params
    properties = (await body_of(request)).get("properties") or {}
    form = VERSION if kind in ("models", "data") else ANY_VERSION
    if not NAME.fullmatch(names["name"]) or not form.fullmatch(names["version"]):
        text = f"'{names['name']}:{names['version']}' is not a valid asset name and version."
        raise ArmError(400, "UserError", text)
    known = service.assets.get(kind, names["name"], names["version"])
    if kind == "components":
        properties = components.named(properties, names["name"], names["version"])
    shown = _shown(service.config.workspace_id, kind, properties)
    if known is not None:
        _check_unchanged(request, known["properties"], shown)
    elif kind in CHECKS:
        CHECKS[kind](properties)
    else:
        _check_source(service, properties)
    body = {
        "id": f"{service.config.workspace_id}/{kind}/{names['name']}/versions/{names['version']}",
        "name": names["version"],
        "type": f"{TYPE}/{kind}/versions",
        "properties": {**shown, "provisioningState": "Succeeded"},
        "systemData": known["systemData"] if known else system_data(service.clock.now()),
    }
    service.assets.put(kind, names["name"], names["version"], body)
    return JSONResponse(body, status_code=200 if known else 201)


def _shown(workspace_id: str, kind: str, properties: dict[str, Any]) -> dict[str, Any]:
    """What was given, without nulls, its address in the long form, and the job that made it.

    The SDK cannot read a model that has no flavors at all.
    """
    given = {name: value for name, value in properties.items() if value is not None}
    if job := job_of(str(given.get("modelUri") or "")):
        given["jobName"] = job
    for name in LONG & given.keys():
        given[name] = long_form(workspace_id, str(given[name]))
    if kind in SHOWN:
        return SHOWN[kind](given)
    return {"flavors": {}, **given} if kind == "models" else given


def _check_unchanged(request: Request, known: dict[str, Any], given: dict[str, Any]) -> None:
    changed = [name for name in FIXED if known.get(name) != given.get(name)]
    if changed:
        names = request.path_params
        text = (
            f"A {KINDS[_kind(request)]} asset '{names['name']}' with version '{names['version']}' "
            f"exists already and its {', '.join(changed)} cannot be changed."
        )
        raise ArmError(409, "UserError", text)


def _check_source(service: AssetService, properties: dict[str, Any]) -> None:
    """What is registered must be there; a job that has not finished has no output yet."""
    uri = address(properties)
    if not uri:
        raise ArmError(400, "UserError", "The asset's address is missing.")
    try:
        path = service.locations.path(uri)
    except Unresolvable as error:
        raise ArmError(400, "UserError", str(error)) from error
    if not path.exists():
        raise ArmError(404, "UserError", f"There is nothing at '{uri}'.")


async def delete_version(service: AssetService, request: Request) -> Response:
    names = request.path_params
    service.assets.delete(_kind(request), names["name"], names["version"])
    return Response(status_code=204)


def _routes(kind: str) -> Routes[AssetService]:
    asset = f"{WORKSPACE}/{kind}/{{name}}"
    return [
        ("GET", f"{WORKSPACE}/{kind}", list_containers),
        ("GET", asset, get_container),
        ("GET", asset + "/versions", list_versions),
        ("GET", asset + "/versions/{version}", get_version),
        ("PUT", asset + "/versions/{version}", put_version),
        ("DELETE", asset + "/versions/{version}", delete_version),
    ]


ROUTES: Routes[AssetService] = [route for kind in KINDS for route in _routes(kind)]
