"""Versioned assets of the workspace: register, get, list, delete versions."""

from dataclasses import dataclass
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from emulator.clock import Clock
from emulator.configuration import Configuration
from emulator.protocol.errors import ArmError
from emulator.protocol.paging import before, ordered, page, scanned
from emulator.protocol.resources import TYPE, WORKSPACE, body_of, system_data
from emulator.protocol.routing import Routes
from emulator.services.assets import codes, components
from emulator.services.assets.registration import Registration, check_name
from emulator.services.assets.versions import KINDS, Assets, Container

#: What an asset without a version has of its own.
OWN = ("description", "tags", "isArchived")


@dataclass(frozen=True)
class AssetService:
    """What the routes of assets ask."""

    config: Configuration
    clock: Clock
    assets: Assets
    registration: Registration


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
    found = service.assets.containers(kind, name)
    if not found:
        raise _missing(request)
    return JSONResponse(_container(service, kind, found[0]))


def _container(service: AssetService, kind: str, asset: Container) -> dict[str, Any]:
    newest = asset.versions[0] if asset.versions else None
    own = {name: asset.own.get(name) for name in OWN if asset.own.get(name) is not None}
    return {
        "id": f"{service.config.workspace_id}/{kind}/{asset.name}",
        "name": asset.name,
        "type": f"{TYPE}/{kind}",
        "properties": {
            "latestVersion": newest["name"] if newest else None,
            "nextVersion": asset.next_version,
            "isArchived": False,
            "dataType": newest["properties"].get("dataType") if newest else None,
            "tags": {},
            **own,
        },
        "systemData": newest["systemData"] if newest else system_data(asset.own["created"]),
    }


async def list_containers(service: AssetService, request: Request) -> Response:
    kind, views = _kind(request), _views(request)
    rows = (
        (place, _container(service, kind, one))
        for place, one in service.assets.newest(kind, before(request))
        if bool(one.own.get("isArchived")) in views
    )
    return scanned(request, rows, ("listViewType",))


async def put_version(service: AssetService, request: Request) -> Response:
    """Register a version, or change its tags and description."""
    kind, names = _kind(request), request.path_params
    properties = (await body_of(request)).get("properties") or {}
    known = service.assets.get(kind, names["name"], names["version"])
    body = service.registration.put(kind, names["name"], names["version"], properties)
    return JSONResponse(body, status_code=200 if known else 201)


async def put_container(service: AssetService, request: Request) -> Response:
    """Describe, tag or archive an asset by its name; it may have no versions yet."""
    kind, name = _kind(request), request.path_params["name"]
    check_name(kind, name)
    properties = (await body_of(request)).get("properties") or {}
    is_new = not service.assets.containers(kind, name)
    given = {key: properties.get(key) for key in OWN}
    service.assets.put_container(kind, name, {"created": service.clock.now(), **given})
    found = service.assets.containers(kind, name)[0]
    return JSONResponse(_container(service, kind, found), status_code=201 if is_new else 200)


async def delete_version(service: AssetService, request: Request) -> Response:
    names = request.path_params
    service.assets.delete(_kind(request), names["name"], names["version"])
    return Response(status_code=204)


def _routes(kind: str) -> Routes[AssetService]:
    asset = f"{WORKSPACE}/{kind}/{{name}}"
    return [
        ("GET", f"{WORKSPACE}/{kind}", list_containers),
        ("GET", asset, get_container),
        ("PUT", asset, put_container),
        ("GET", asset + "/versions", list_versions),
        ("GET", asset + "/versions/{version}", get_version),
        ("PUT", asset + "/versions/{version}", put_version),
        ("DELETE", asset + "/versions/{version}", delete_version),
    ]


ROUTES: Routes[AssetService] = [route for kind in KINDS for route in _routes(kind)]
