"""The workspace's four datastores: two containers and two file shares of its storage account."""

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from emulator.clock import Clock
from emulator.configuration import Configuration
from emulator.protocol.errors import ArmError, NotEmulated
from emulator.protocol.paging import page
from emulator.protocol.resources import TYPE, WORKSPACE, body_of, invalid_content, system_data
from emulator.protocol.routing import Routes
from emulator.services.storage.blobs import DATASTORES, FILE_SHARES
from emulator.services.storage.signatures import Grant, service_sas

PATH = WORKSPACE + "/datastores/{name}"
#: What a temporary secret allows: all that the SDK does with a container's blobs.
LETTERS = "racwdl"
LONGEST_HOURS = 24 * 7
ORDERS = ("createdtime", "modifiedtime", "name")


@dataclass(frozen=True)
class DatastoreService:
    """What the datastores ask."""

    config: Configuration
    clock: Clock


def resource(config: Configuration, name: str) -> dict[str, Any]:
    """The datastore; its secrets are never in it. Raises ArmError 404."""
    return {
        "id": f"{config.workspace_id}/datastores/{name}",
        "name": name,
        "type": f"{TYPE}/datastores",
        "properties": {
            **_place(name),
            "accountName": config.account,
            "endpoint": config.storage_suffix,
            "protocol": "https",
            "isDefault": name == "workspaceblobstore",
            "credentials": {"credentialsType": "AccountKey"},
            "subscriptionId": config.identity.subscription,
            "resourceGroup": config.identity.resource_group,
            "serviceDataAccessAuthIdentity": "None",
            "tags": {},
            "properties": {},
        },
        "systemData": system_data(0),
    }


def _place(name: str) -> dict[str, str]:
    """Kind and place of a datastore. Raises ArmError 404."""
    if name.lower() in DATASTORES:
        return {"datastoreType": "AzureBlob", "containerName": DATASTORES[name.lower()]}
    if name.lower() in FILE_SHARES:
        return {"datastoreType": "AzureFile", "fileShareName": FILE_SHARES[name.lower()]}
    raise ArmError(404, "UserError", f"Could not find datastore: {name}.")


async def get_datastore(service: DatastoreService, request: Request) -> Response:
    return JSONResponse(resource(service.config, request.path_params["name"]))


async def list_datastores(service: DatastoreService, request: Request) -> Response:
    datastores = [resource(service.config, name) for name in (*DATASTORES, *FILE_SHARES)]
    if request.query_params.get("isDefault", "").lower() == "true":
        datastores = [body for body in datastores if body["properties"]["isDefault"]]
    return page(request, _ordered(request, datastores), ("isDefault", "orderBy", "orderByAsc"))


def _ordered(request: Request, datastores: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """In the order that is asked for: ``orderBy`` is ``createdtime``, ``modifiedtime`` or ``name``.

    ``orderByAsc`` is its direction, descending by default (azure-ai-ml 1.35.2, the description of
    ``Datastores_List`` in ``_restclient/arm_ml_service``). By time there is no order: they were
    made at once, with the workspace. Raises NotEmulated: another order.
    """
    query = request.query_params
    order = query.get("orderBy", "createdtime").lower()
    if order not in ORDERS:
        raise NotEmulated(f"the order '{order}' of this list; there are {', '.join(ORDERS)}.")
    if order != "name":
        return datastores
    descending = query.get("orderByAsc", "").lower() != "true"
    return sorted(datastores, key=lambda body: str(body["name"]), reverse=descending)


async def list_secrets(service: DatastoreService, request: Request) -> Response:
    """The account's key, or a signature that expires to who asks for ``expirableSecret``."""
    name = request.path_params["name"].lower()
    place = _place(name)
    hours = _expiry(await body_of(request))
    if hours is None:
        key = service.config.identity.storage_key
        return JSONResponse({"secretsType": "AccountKey", "key": key})
    if name in FILE_SHARES:
        raise NotEmulated(f"listSecrets with expirableSecret of '{name}', which is a file share.")
    until = datetime.fromtimestamp(service.clock.now() + hours * 3600, UTC)
    grant = Grant(LETTERS, "c", until.strftime("%Y-%m-%dT%H:%M:%SZ"))
    mine = service.config
    token = service_sas(mine.account, mine.identity.storage_key, place["containerName"], grant)
    return JSONResponse({"secretsType": "Sas", "sasToken": token})


def _expiry(body: dict[str, Any]) -> int | None:
    """Hours of a secret that expires; None for one that does not. Raises ArmError 400."""
    wanted, hours = body.get("expirableSecret", False), body.get("expireAfterHours", 1)
    if not isinstance(wanted, bool):
        raise invalid_content(f"expirableSecret is {wanted!r}, not true or false")
    if isinstance(hours, bool) or not isinstance(hours, int) or not 1 <= hours <= LONGEST_HOURS:
        raise invalid_content(f"expireAfterHours is {hours!r}, not 1 to {LONGEST_HOURS}")
    return hours if wanted else None


ROUTES: Routes[DatastoreService] = [
    ("GET", WORKSPACE + "/datastores", list_datastores),
    ("GET", PATH, get_datastore),
    ("POST", PATH + "/listSecrets", list_secrets),
]
