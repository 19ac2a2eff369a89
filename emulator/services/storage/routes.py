"""The storage account's blob service: who may ask, which operation it is, how errors are told."""

import re
import uuid
from dataclasses import dataclass
from xml.sax.saxutils import escape

from starlette.requests import Request
from starlette.responses import Response

from emulator.protocol.errors import ArmError, NotEmulated
from emulator.protocol.routing import Handler, Routes
from emulator.services.storage import blob_calls as blob
from emulator.services.storage import container_calls as container
from emulator.services.storage.access import Right, authorise
from emulator.services.storage.blob_calls import StorageService
from emulator.services.storage.headers import check_emulated

VERSION = "2023-11-03"
VERSION_FORM = re.compile(r"\d{4}-\d\d-\d\d")


@dataclass(frozen=True)
class Operation:
    """One operation of the service: Azure's name, what does it, what a signature must carry."""

    name: str
    handler: Handler[StorageService]
    right: Right


async def serve(service: StorageService, request: Request) -> Response:
    """Every request to the account: authorise, dispatch by method, resource and ``comp``."""
    try:
        _check_version(request)
        operation = _operation(request)
        now = service.clock.now()
        request.state.letters = authorise(service.config, now, request, operation.right)
        check_emulated(operation.name, request)
        return _stamped(request, await operation.handler(service, request))
    except ArmError as error:
        return _stamped(request, storage_error(request, error))


def storage_error(request: Request, error: ArmError) -> Response:
    """An error in the storage service's XML; a HEAD and a 304 have no body."""
    body = (
        '<?xml version="1.0" encoding="utf-8"?><Error>'
        f"<Code>{error.code}</Code><Message>{escape(error.message)}</Message></Error>"
    )
    headers = {**error.headers, "x-ms-error-code": error.code}
    if request.method == "HEAD" or error.status == 304:
        return Response(None, error.status, headers)
    return Response(body, error.status, headers, "application/xml")


def _operation(request: Request) -> Operation:
    comp = request.query_params.get("comp", "")
    if not request.path_params.get("container"):
        level = "account"
    elif request.path_params.get("name"):
        level = "blob"
    else:
        level = "container"
    operation = HANDLERS.get((request.method, level, comp))
    if operation is None:
        what = f" with comp={comp}" if comp else ""
        raise NotEmulated(f"{request.method} {request.url.path} (a {level} of the account){what}")
    return operation


def _check_version(request: Request) -> None:
    version = request.headers.get("x-ms-version")
    if version is not None and not VERSION_FORM.fullmatch(version):
        text = f"The value for the HTTP header x-ms-version is not valid: '{version}'."
        raise ArmError(400, "InvalidHeaderValue", text)


def _stamped(request: Request, response: Response) -> Response:
    """With the version that was asked for, and the ids by which the two sides find a request."""
    asked = request.headers.get("x-ms-version") or request.query_params.get("sv") or VERSION
    response.headers["x-ms-version"] = asked if VERSION_FORM.fullmatch(asked) else VERSION
    response.headers["x-ms-request-id"] = str(uuid.uuid4())
    own = request.headers.get("x-ms-client-request-id")
    if own:
        response.headers["x-ms-client-request-id"] = own
    return response


READ, WRITE = Right("r", "r", "o"), Right("w", "w", "o")
CREATE, DELETE = Right("cw", "cw", "o"), Right("d", "d", "o")
LIST = Right("l", "l", "c")


def _container_right(account: str) -> Right:
    """What no service SAS opens: the container itself."""
    return Right("", account, "c")


HANDLERS: dict[tuple[str, str, str], Operation] = {
    ("GET", "blob", ""): Operation("Get Blob", blob.get_blob, READ),
    ("HEAD", "blob", ""): Operation("Get Blob Properties", blob.head_blob, READ),
    ("GET", "blob", "metadata"): Operation("Get Blob Metadata", blob.get_metadata, READ),
    ("HEAD", "blob", "metadata"): Operation("Get Blob Metadata", blob.get_metadata, READ),
    ("PUT", "blob", ""): Operation("Put Blob", blob.put_blob, CREATE),
    ("PUT", "blob", "block"): Operation("Put Block", blob.put_block, WRITE),
    ("PUT", "blob", "blocklist"): Operation("Put Block List", blob.put_block_list, WRITE),
    ("GET", "blob", "blocklist"): Operation("Get Block List", blob.get_block_list, READ),
    ("PUT", "blob", "metadata"): Operation("Set Blob Metadata", blob.put_metadata, WRITE),
    ("PUT", "blob", "properties"): Operation("Set Blob Properties", blob.put_properties, WRITE),
    ("DELETE", "blob", ""): Operation("Delete Blob", blob.delete_blob, DELETE),
    ("GET", "container", ""): Operation(
        "Get Container Properties", container.get_container, _container_right("r")
    ),
    ("HEAD", "container", ""): Operation(
        "Get Container Properties", container.get_container, _container_right("r")
    ),
    ("GET", "container", "metadata"): Operation(
        "Get Container Metadata", container.get_container, _container_right("r")
    ),
    ("HEAD", "container", "metadata"): Operation(
        "Get Container Metadata", container.get_container, _container_right("r")
    ),
    ("PUT", "container", ""): Operation(
        "Create Container", container.put_container, _container_right("cw")
    ),
    ("PUT", "container", "metadata"): Operation(
        "Set Container Metadata", container.put_container_metadata, _container_right("w")
    ),
    ("DELETE", "container", ""): Operation(
        "Delete Container", container.delete_container, _container_right("d")
    ),
    ("GET", "container", "list"): Operation("List Blobs", container.list_blobs, LIST),
    ("GET", "account", "list"): Operation(
        "List Containers", container.list_containers, Right("", "l", "s")
    ),
}
METHODS = "GET HEAD POST PUT PATCH DELETE"
ROUTES: Routes[StorageService] = [
    (METHODS, "/", serve),
    (METHODS, "/{container}", serve),
    (METHODS, "/{container}/{name:path}", serve),
]
