"""How a cloud describes itself, and where a registry and a workspace's services are."""

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from emulator.catalogue import REGISTRY
from emulator.configuration import REGION, Configuration
from emulator.protocol.errors import ArmError
from emulator.protocol.routing import Routes


async def get_clouds(config: Configuration, request: Request) -> Response:
    manager = f"https://{config.management_host}/"
    cloud = {
        "name": config.cloud,
        "portal": f"https://portal.azure.{config.suffix}",
        "resourceManager": manager,
        "authentication": {
            "loginEndpoint": f"https://login.{config.suffix}/",
            "audiences": [manager],
            "tenant": config.tenant_id,
            "identityProvider": "AAD",
        },
        "suffixes": {"storage": config.storage_suffix},
    }
    return JSONResponse([cloud])


async def get_registry(config: Configuration, request: Request) -> Response:
    """The registry's own subscription and group; anything but ``azureml`` is not there."""
    name = request.path_params["registry"]
    if name != REGISTRY:
        raise ArmError(404, "RegistryNotFound", f"The registry '{name}' was not found.")
    return JSONResponse(
        {
            "registryName": name,
            "subscriptionId": config.identity.subscription,
            "resourceGroup": config.identity.registry_group,
            "location": REGION,
            "primaryRegionResourceProviderUri": f"https://{config.api_host}/",
        }
    )


async def get_services(config: Configuration, request: Request) -> Response:
    """The document behind a workspace's ``discoveryUrl``."""
    base = f"https://{config.api_host}"
    names = ("api", "history", "experimentation", "mlflow", "studio")
    return JSONResponse(dict.fromkeys(names, base))


MANAGEMENT: Routes[Configuration] = [
    ("GET", "/metadata/endpoints", get_clouds),
]
API: Routes[Configuration] = [
    ("GET", "/registrymanagement/v1.0/registries/{registry}/discovery", get_registry),
    ("GET", "/discovery/workspaces/{workspace}", get_services),
]
