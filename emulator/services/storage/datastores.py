"""The workspace's two datastores, both in its storage account."""

from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from emulator.protocol.errors import ArmError
from emulator.protocol.resources import TYPE, WORKSPACE, emulator_of, page, system_data
from emulator.services.storage.blobs import DATASTORES

PATH = WORKSPACE + "/datastores/{name}"


def resource(request: Request, name: str) -> dict[str, Any]:
    """The datastore. Raises ArmError 404."""
    config = emulator_of(request).config
    container = DATASTORES.get(name.lower())
    if container is None:
        raise ArmError(404, "UserError", f"Could not find datastore: {name}.")
    return {
        "id": f"{config.workspace_id}/datastores/{name}",
        "name": name,
        "type": f"{TYPE}/datastores",
        "properties": {
            "datastoreType": "AzureBlob",
            "accountName": config.account,
            "containerName": container,
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


async def get_datastore(request: Request) -> Response:
    return JSONResponse(resource(request, request.path_params["name"]))


async def list_datastores(request: Request) -> Response:
    found = [resource(request, name) for name in DATASTORES]
    if request.query_params.get("isDefault", "").lower() == "true":
        found = [one for one in found if one["properties"]["isDefault"]]
    return page(request, found)


async def list_secrets(request: Request) -> Response:
    resource(request, request.path_params["name"])
    key = emulator_of(request).config.identity.storage_key
    return JSONResponse({"secretsType": "AccountKey", "key": key})


ROUTES = [
    Route(WORKSPACE + "/datastores", list_datastores, methods=["GET"]),
    Route(PATH, get_datastore, methods=["GET"]),
    Route(PATH + "/listSecrets", list_secrets, methods=["POST"]),
]
