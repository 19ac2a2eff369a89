"""How a cloud describes itself, and where a registry and a workspace's services are."""

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from emulator.configuration import REGION
from emulator.protocol.errors import ArmError
from emulator.protocol.resources import PROVIDER, emulator_of, pause


async def get_clouds(request: Request) -> Response:
    config = emulator_of(request).config
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


async def get_registry(request: Request) -> Response:
    """The registry's own subscription and group; anything but ``azureml`` is not there."""
    config = emulator_of(request).config
    name = request.path_params["registry"]
    if name != "azureml":
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


async def get_services(request: Request) -> Response:
    """The document behind a workspace's ``discoveryUrl``."""
    base = f"https://{emulator_of(request).config.api_host}"
    names = ("api", "history", "experimentation", "mlflow", "studio")
    return JSONResponse(dict.fromkeys(names, base))


async def get_operation(request: Request) -> Response:
    emulator = emulator_of(request)
    body = emulator.operations.status(request.path_params["operation"])
    return JSONResponse(body, headers=pause(emulator))


async def get_operation_result(request: Request) -> Response:
    emulator = emulator_of(request)
    body = emulator.operations.status(request.path_params["operation"])
    running = body["status"] == "Updating"
    headers = pause(emulator)
    if running:
        headers["Location"] = str(request.url)
    return Response(status_code=202 if running else 204, headers=headers)


PLACE = PROVIDER + "/locations/{location}"
MANAGEMENT = [
    Route("/metadata/endpoints", get_clouds, methods=["GET"]),
    Route(PLACE + "/mfeOperationsStatus/{operation}", get_operation, methods=["GET"]),
    Route(PLACE + "/mfeOperationResults/{operation}", get_operation_result, methods=["GET"]),
]
API = [
    Route(
        "/registrymanagement/v1.0/registries/{registry}/discovery", get_registry, methods=["GET"]
    ),
    Route("/discovery/workspaces/{workspace}", get_services, methods=["GET"]),
]
