"""What can be asked of containers and of the account: lists, properties, metadata."""

from starlette.requests import Request
from starlette.responses import Response

from emulator.protocol.errors import ArmError
from emulator.services.storage import conditions, headers, lists
from emulator.services.storage.blob_calls import StorageService, place
from emulator.services.storage.blobs import Container

XML = "application/xml"


def _container(service: StorageService, request: Request) -> Container:
    return service.storage.container(place(service, request)[0])


async def get_container(service: StorageService, request: Request) -> Response:
    """Get Container Properties; also its metadata, which ``comp=metadata`` asks for alone."""
    container = _container(service, request)
    told = {**headers.changed(container), **headers.metadata_headers(container.metadata)}
    about = {"x-ms-has-immutability-policy": "false", "x-ms-has-legal-hold": "false"}
    if request.query_params.get("comp") != "metadata":
        told |= {**headers.LEASE, **about}
    return Response(None, 200, told)


async def put_container(service: StorageService, request: Request) -> Response:
    if "x-ms-blob-public-access" in request.headers:
        text = "Public access is not permitted on this storage account."
        raise ArmError(409, "PublicAccessNotPermitted", text)
    name = request.path_params["container"]
    if not service.storage.create(name, headers.metadata_of(request.headers)):
        raise ArmError(409, "ContainerAlreadyExists", "The specified container already exists.")
    return Response(None, 201, headers.changed(service.storage.container(name)))


async def put_container_metadata(service: StorageService, request: Request) -> Response:
    container = _container(service, request)
    _check(request, container)
    service.storage.describe_container(container.name, headers.metadata_of(request.headers))
    return Response(None, 200, headers.changed(service.storage.container(container.name)))


async def delete_container(service: StorageService, request: Request) -> Response:
    container = _container(service, request)
    _check(request, container)
    service.storage.remove(container.name)
    return Response(None, 202)


def _check(request: Request, container: Container) -> None:
    """Raises ArmError 400 or 412: a condition that is not met."""
    state = conditions.State(container.etag.strip('"'), container.modified)
    conditions.check_write(conditions.conditions_of(request.headers), state)


async def list_blobs(service: StorageService, request: Request) -> Response:
    """List Blobs, flat or by a delimiter, in pages."""
    container, _ = place(service, request)
    wanted = lists.wanted_of(request)
    body = lists.blob_list(service.storage, container, wanted, service.config.blob_host)
    return Response(body, 200, media_type=XML)


async def list_containers(service: StorageService, request: Request) -> Response:
    wanted = lists.wanted_of(request)
    body = lists.container_list(service.storage, wanted, service.config.blob_host)
    return Response(body, 200, media_type=XML)
