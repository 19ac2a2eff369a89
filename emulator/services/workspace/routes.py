"""The workspace, what its caller may do there, and what its region offers."""

from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from emulator.configuration import REGION, Configuration
from emulator.protocol.resources import TYPE, WORKSPACE, system_data
from emulator.protocol.routing import Routes

PERMISSIONS = [{"actions": ["*"], "notActions": [], "dataActions": ["*"], "notDataActions": []}]


def resource(config: Configuration) -> dict[str, Any]:
    """The one workspace of this emulator."""
    mine = config.identity
    group = f"/subscriptions/{mine.subscription}/resourceGroups/{mine.resource_group}/providers"
    return {
        "id": config.workspace_id,
        "name": mine.workspace,
        "type": TYPE,
        "location": REGION,
        "kind": "Default",
        "tags": {},
        "identity": {
            "type": "SystemAssigned",
            "principalId": mine.principal,
            "tenantId": mine.tenant,
        },
        "sku": {"name": "Basic", "tier": "Basic"},
        "properties": {
            "friendlyName": mine.workspace,
            "description": "The emulator's workspace: nothing here is on Azure.",
            "workspaceId": mine.principal,
            "storageAccount": config.storage_account_id,
            "keyVault": f"{group}/Microsoft.Keyvault/vaults/emulated",
            "applicationInsights": f"{group}/Microsoft.insights/components/emulated",
            "hbiWorkspace": False,
            "provisioningState": "Succeeded",
            "publicNetworkAccess": "Enabled",
            "discoveryUrl": f"https://{config.api_host}/discovery/workspaces/{mine.workspace}",
            "mlFlowTrackingUri": config.tracking_uri,
            "tenantId": mine.tenant,
        },
        "systemData": system_data(0),
    }


async def get_workspace(config: Configuration, request: Request) -> Response:
    return JSONResponse(resource(config))


async def list_workspaces(config: Configuration, request: Request) -> Response:
    return JSONResponse({"value": [resource(config)]})


async def get_permissions(config: Configuration, request: Request) -> Response:
    """What the caller may do; ``python -m emulator --deny ACTION`` takes something away."""
    denied = list(config.denied_actions)
    return JSONResponse({"value": [{**one, "notActions": denied} for one in PERMISSIONS]})


ROUTES: Routes[Configuration] = [
    ("GET", WORKSPACE.rsplit("/", 1)[0], list_workspaces),
    ("GET", WORKSPACE, get_workspace),
    ("GET", WORKSPACE + "/providers/Microsoft.Authorization/permissions", get_permissions),
]
