"""How a cloud describes itself, and where a registry and a workspace's services are."""

from dataclasses import dataclass

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from emulator.catalogue import Catalogue
from emulator.configuration import REGION, Configuration
from emulator.protocol.registries import registry_named
from emulator.protocol.routing import Routes


@dataclass(frozen=True)
class DiscoveryService:
    """What the routes of discovery ask."""

    config: Configuration
    catalogue: Catalogue


async def get_clouds(service: DiscoveryService, request: Request) -> Response:
    config = service.config
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


async def get_registry(service: DiscoveryService, request: Request) -> Response:
    """The registry's own subscription and group."""
    name = registry_named(service.catalogue, request.path_params["registry"]).name
    config = service.config
    return JSONResponse(
        {
            "registryName": name,
            "subscriptionId": config.identity.subscription,
            "resourceGroup": config.identity.registry_group,
            "location": REGION,
            "primaryRegionResourceProviderUri": f"https://{config.api_host}/",
        }
    )


async def get_services(service: DiscoveryService, request: Request) -> Response:
    """The document behind a workspace's ``discoveryUrl``."""
    base = f"https://{service.config.api_host}"
    names = ("api", "history", "experimentation", "mlflow", "studio")
    return JSONResponse(dict.fromkeys(names, base))


MANAGEMENT: Routes[DiscoveryService] = [
    ("GET", "/metadata/endpoints", get_clouds),
]
API: Routes[DiscoveryService] = [
    ("GET", "/registrymanagement/v1.0/registries/{registry}/discovery", get_registry),
    ("GET", "/discovery/workspaces/{workspace}", get_services),
]
