"""The workspace, what its caller may do there, and what its region offers."""

from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from emulator.configuration import REGION, Configuration
from emulator.protocol.errors import ArmError
from emulator.protocol.resources import PROVIDER, TYPE, WORKSPACE, emulator_of, page, system_data

PERMISSIONS = [{"actions": ["*"], "notActions": [], "dataActions": ["*"], "notDataActions": []}]


def resource(config: Configuration) -> dict[str, Any]:
    """The one workspace of this emulator."""
    mine = config.identity
    group = f"/subscriptions/{mine.subscription}/resourceGroups/{mine.resource_group}/providers"
    storage = f"{group}/Microsoft.Storage/storageAccounts/{config.account}"
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
            "storageAccount": storage,
            "keyVault": f"{group}/Microsoft.Keyvault/vaults/emulated",
            "applicationInsights": f"{group}/Microsoft.insights/components/emulated",
            "hbiWorkspace": False,
            "provisioningState": "Succeeded",
            "publicNetworkAccess": "Enabled",
            "discoveryUrl": f"https://{config.api_host}/discovery/workspaces/{mine.workspace}",
            "mlFlowTrackingUri": f"azureml://{config.api_host}/mlflow/v1.0{config.workspace_id}",
            "tenantId": mine.tenant,
        },
        "systemData": system_data(0),
    }


async def get_workspace(request: Request) -> Response:
    return JSONResponse(resource(emulator_of(request).config))


async def list_workspaces(request: Request) -> Response:
    return JSONResponse({"value": [resource(emulator_of(request).config)]})


async def get_permissions(request: Request) -> Response:
    """What the caller may do; ``python -m emulator --deny ACTION`` takes something away."""
    denied = list(emulator_of(request).config.denied_actions)
    return JSONResponse({"value": [{**one, "notActions": denied} for one in PERMISSIONS]})


async def list_sizes(request: Request) -> Response:
    return JSONResponse({"value": emulator_of(request).catalogue.vm_sizes})


async def list_usages(request: Request) -> Response:
    """vCPUs in use and allowed, by family, as the workspace's clusters could use them."""
    emulator = emulator_of(request)
    used = emulator.computes.cores_by_family()
    whole = sum(emulator.catalogue.quotas.values())
    rows = [_usage("total", "Total Cluster Dedicated Regional vCPUs", sum(used.values()), whole)]
    for family, limit in emulator.catalogue.quotas.items():
        rows.append(_usage(family, f"{family} Cluster Dedicated vCPUs", used.get(family, 0), limit))
    low = emulator.catalogue.low_priority_quota
    spent = emulator.computes.low_priority_cores()
    rows.append(_usage("lowPriority", "Total Cluster LowPriority Regional vCPUs", spent, low))
    return page(request, rows)


async def list_quotas(request: Request) -> Response:
    """vCPUs that the workspace may use, by family."""
    config = emulator_of(request).config
    rows = [
        {
            "id": f"{config.workspace_id}/quotas/{family}",
            "amlWorkspaceLocation": REGION,
            "type": f"{TYPE}/quotas",
            "name": {"value": family, "localizedValue": f"{family} Cluster Dedicated vCPUs"},
            "limit": limit,
            "unit": "Count",
        }
        for family, limit in emulator_of(request).catalogue.quotas.items()
    ]
    return page(request, rows)


def _usage(name: str, text: str, used: int, limit: int) -> dict[str, Any]:
    return {
        "id": f"/usages/{name}",
        "type": f"{TYPE}/usages",
        "unit": "Count",
        "currentValue": used,
        "limit": limit,
        "name": {"value": name, "localizedValue": text},
    }


def check_scope(config: Configuration, names: dict[str, str]) -> None:
    """Raise ArmError 404 as ARM does: no such subscription, resource group or workspace."""
    mine = config.identity
    subscription, group = names.get("subscription"), names.get("group")
    if subscription and subscription.lower() != mine.subscription:
        text = f"The subscription '{subscription}' could not be found."
        raise ArmError(404, "SubscriptionNotFound", text)
    known = (mine.resource_group.lower(), mine.registry_group.lower())
    if group and group.lower() not in known:
        raise ArmError(
            404, "ResourceGroupNotFound", f"Resource group '{group}' could not be found."
        )
    workspace = names.get("workspace")
    here = (mine.resource_group.lower(), mine.workspace.lower())
    if workspace and (str(group or here[0]).lower(), workspace.lower()) != here:
        raise ArmError(
            404,
            "ResourceNotFound",
            f"The Resource '{TYPE}/{workspace}' under resource group '{group}' was not found.",
        )


PLACE = PROVIDER + "/locations/{location}"
ROUTES = [
    Route(WORKSPACE.rsplit("/", 1)[0], list_workspaces, methods=["GET"]),
    Route(WORKSPACE, get_workspace, methods=["GET"]),
    Route(
        WORKSPACE + "/providers/Microsoft.Authorization/permissions",
        get_permissions,
        methods=["GET"],
    ),
    Route(PLACE + "/vmSizes", list_sizes, methods=["GET"]),
    Route(PLACE + "/usages", list_usages, methods=["GET"]),
    Route(PLACE + "/quotas", list_quotas, methods=["GET"]),
    Route(WORKSPACE + "/usages", list_usages, methods=["GET"]),
]
