"""The workspace's two datastores, both in its storage account."""

from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from emulator.configuration import Configuration
from emulator.protocol.errors import ArmError
from emulator.protocol.paging import page
from emulator.protocol.resources import TYPE, WORKSPACE, system_data
from emulator.protocol.routing import Routes
from emulator.services.storage.blobs import DATASTORES

PATH = WORKSPACE + "/datastores/{name}"


def resource(config: Configuration, name: str) -> dict[str, Any]:
    """The datastore. Raises ArmError 404."""
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


async def get_datastore(config: Configuration, request: Request) -> Response:
    return JSONResponse(resource(config, request.path_params["name"]))


async def list_datastores(config: Configuration, request: Request) -> Response:
    datastores = [resource(config, name) for name in DATASTORES]
    if request.query_params.get("isDefault", "").lower() == "true":
        datastores = [body for body in datastores if body["properties"]["isDefault"]]
    return page(request, datastores)


async def list_secrets(config: Configuration, request: Request) -> Response:
    resource(config, request.path_params["name"])
    key = config.identity.storage_key
    return JSONResponse({"secretsType": "AccountKey", "key": key})


ROUTES: Routes[Configuration] = [
    ("GET", WORKSPACE + "/datastores", list_datastores),
    ("GET", PATH, get_datastore),
    ("POST", PATH + "/listSecrets", list_secrets),
]
