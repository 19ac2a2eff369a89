"""The storage account's blob service: block blobs, metadata, lists; authorised as on Azure."""

import asyncio
import re
import uuid
from bisect import bisect_left
from dataclasses import dataclass
from email.utils import formatdate
from pathlib import Path
from xml.etree import ElementTree
from xml.sax.saxutils import escape

from starlette.requests import Request
from starlette.responses import FileResponse, Response

from emulator.clock import Clock
from emulator.configuration import Configuration
from emulator.protocol.errors import ArmError, NotEmulated
from emulator.protocol.routing import Handler, Routes
from emulator.services.storage.access import authorise
from emulator.services.storage.blobs import Blob, Storage
from emulator.services.storage.lists import entries, row

VERSION = "2023-11-03"
PAGE = 5000
RANGE = re.compile(r"bytes=(\d+)-(\d+)?")  # the two forms that the service takes


@dataclass(frozen=True)
class StorageService:
    """What the blob service asks."""

    config: Configuration
    clock: Clock
    storage: Storage


async def serve(service: StorageService, request: Request) -> Response:
    """Every request to the account: authorise, dispatch by method, resource and ``comp``."""
    try:
        authorise(service.config, service.clock.now(), request)
        return _stamped(await _handler(request)(service, request))
    except ArmError as error:
        return _stamped(storage_error(error))


def storage_error(error: ArmError) -> Response:
    """An error in the storage service's XML."""
    body = (
        '<?xml version="1.0" encoding="utf-8"?><Error>'
        f"<Code>{error.code}</Code><Message>{escape(error.message)}</Message></Error>"
    )
    headers = {**error.headers, "x-ms-error-code": error.code}
    return Response(body, error.status, headers, "application/xml")


def _handler(request: Request) -> Handler[StorageService]:
    comp = request.query_params.get("comp", "")
    if not request.path_params.get("container"):
        level = "account"
    elif request.path_params.get("name"):
        level = "blob"
    else:
        level = "container"
    handler = HANDLERS.get((request.method, level, comp))
    if handler is None:
        what = f" with comp={comp}" if comp else ""
        raise NotEmulated(f"{request.method} {request.url.path} (a {level} of the account){what}")
    return handler


def _place(service: StorageService, request: Request) -> tuple[str, str]:
    container = request.path_params["container"]
    if not service.storage.has(container):
        raise ArmError(404, "ContainerNotFound", "The specified container does not exist.")
    return container, request.path_params.get("name", "")


def _blob(service: StorageService, request: Request) -> Blob:
    container, name = _place(service, request)
    blob = service.storage.get(container, name)
    if blob is None:
        raise ArmError(404, "BlobNotFound", "The specified blob does not exist.")
    return blob


def _metadata(request: Request) -> dict[str, str]:
    start = "x-ms-meta-"
    return {k.removeprefix(start): v for k, v in request.headers.items() if k.startswith(start)}


def _headers(blob: Blob) -> dict[str, str]:
    return {
        "Content-Type": blob.content_type,
        "ETag": blob.etag,
        "Last-Modified": formatdate(blob.modified, usegmt=True),
        "x-ms-blob-type": "BlockBlob",
        "x-ms-lease-status": "unlocked",
        "x-ms-lease-state": "available",
        "x-ms-server-encrypted": "true",
        **{f"x-ms-meta-{name}": value for name, value in blob.metadata.items()},
    }


def _stamped(response: Response) -> Response:
    response.headers["x-ms-version"] = VERSION
    response.headers["x-ms-request-id"] = str(uuid.uuid4())
    return response


async def get_blob(service: StorageService, request: Request) -> Response:
    """The blob or a range of it."""
    blob = _blob(service, request)
    wanted = RANGE.fullmatch(request.headers.get("x-ms-range") or request.headers.get("range", ""))
    path = service.storage.file(*_place(service, request))
    headers = {**_headers(blob), "Accept-Ranges": "bytes"}
    if wanted is None:
        return FileResponse(path, headers=headers)
    start, end = int(wanted[1]), min(int(wanted[2] or blob.size - 1), blob.size - 1)
    return _ranged(path, blob, start, end, headers)


def _ranged(path: Path, blob: Blob, start: int, end: int, headers: dict[str, str]) -> Response:
    if start > end:
        raise ArmError(416, "InvalidRange", "The range specified is invalid for the current size "
                       "of the resource.", {"Content-Range": f"bytes */{blob.size}"})  # fmt: skip
    with path.open("rb") as file:
        file.seek(start)
        body = file.read(end - start + 1)
    headers["Content-Range"] = f"bytes {start}-{end}/{blob.size}"
    return Response(body, 206, headers)


async def head_blob(service: StorageService, request: Request) -> Response:
    blob = _blob(service, request)
    headers = {**_headers(blob), "Content-Length": str(blob.size), "Accept-Ranges": "bytes"}
    return Response(None, 200, headers)


async def put_blob(service: StorageService, request: Request) -> Response:
    """Put Blob: the whole of a block blob in one request."""
    container, name = _place(service, request)
    kind = request.headers.get("x-ms-blob-type", "BlockBlob")
    if kind != "BlockBlob":
        raise NotEmulated(f"blobs of type '{kind}'.")
    if "x-ms-copy-source" in request.headers:
        raise NotEmulated("copying a blob.")
    storage = service.storage
    _check_conditions(request, storage.get(container, name))
    part = storage.part()
    await _receive(request, part)
    return _stored(service, request, part)


def _stored(service: StorageService, request: Request, part: Path) -> Response:
    container, name = _place(service, request)
    storage = service.storage
    kind = request.headers.get("x-ms-blob-content-type") or "application/octet-stream"
    storage.put(container, name, part, _metadata(request), kind)
    blob = storage.get(container, name)
    assert blob is not None
    headers = {"ETag": blob.etag, "Last-Modified": formatdate(blob.modified, usegmt=True)}
    return Response(None, 201, {**headers, "x-ms-request-server-encrypted": "true"})


async def _receive(request: Request, into: Path) -> None:
    expected = request.headers.get("content-length")
    with into.open("wb") as file:
        async for chunk in request.stream():
            file.write(chunk)
    if expected is not None and into.stat().st_size != int(expected):
        into.unlink()
        raise ArmError(400, "IncompleteBody", "The request body is incomplete.")


def _check_conditions(request: Request, known: Blob | None) -> None:
    if known is not None and request.headers.get("if-none-match") == "*":
        raise ArmError(409, "BlobAlreadyExists", "The specified blob already exists.")
    match = request.headers.get("if-match")
    if match and match != "*" and (known is None or known.etag != match):
        raise ArmError(412, "ConditionNotMet", "The condition specified using HTTP conditional "
                       "header(s) is not met.")  # fmt: skip


async def put_block(service: StorageService, request: Request) -> Response:
    container, name = _place(service, request)
    storage = service.storage
    part = storage.part()
    await _receive(request, part)
    part.replace(storage.stage(container, name, request.query_params["blockid"]))
    return Response(None, 201)


async def put_block_list(service: StorageService, request: Request) -> Response:
    container, name = _place(service, request)
    storage = service.storage
    _check_conditions(request, storage.get(container, name))
    try:
        listed = ElementTree.fromstring(await request.body())
    except ElementTree.ParseError as error:
        raise ArmError(400, "InvalidXmlDocument", f"XML specified is not valid: {error}") from error
    part = storage.part()
    blocks = [str(block.text) for block in listed]
    await asyncio.to_thread(storage.commit, container, name, blocks, part)  # may be large
    return _stored(service, request, part)


async def put_metadata(service: StorageService, request: Request) -> Response:
    blob = _blob(service, request)
    container, name = _place(service, request)
    service.storage.describe(container, name, _metadata(request))
    headers = {"ETag": blob.etag, "Last-Modified": formatdate(blob.modified, usegmt=True)}
    return Response(None, 200, headers)


async def put_properties(service: StorageService, request: Request) -> Response:
    blob = _blob(service, request)
    container, name = _place(service, request)
    kind = request.headers.get("x-ms-blob-content-type")
    service.storage.describe(container, name, blob.metadata, kind)
    return Response(None, 200, {"ETag": blob.etag})


async def delete_blob(service: StorageService, request: Request) -> Response:
    blob = _blob(service, request)
    _check_conditions(request, blob)
    service.storage.delete(*_place(service, request))
    return Response(None, 202)


async def get_container(service: StorageService, request: Request) -> Response:
    _place(service, request)
    now = formatdate(service.clock.now(), usegmt=True)
    return Response(None, 200, {"ETag": '"0x1"', "Last-Modified": now})


async def put_container(service: StorageService, request: Request) -> Response:
    if not service.storage.create(request.path_params["container"]):
        raise ArmError(409, "ContainerAlreadyExists", "The specified container already exists.")
    return Response(None, 201, {"ETag": '"0x1"'})


async def delete_container(service: StorageService, request: Request) -> Response:
    container, _ = _place(service, request)
    service.storage.remove(container)
    return Response(None, 202)


async def list_blobs(service: StorageService, request: Request) -> Response:
    """List Blobs, flat or by a delimiter, in pages."""
    container, _ = _place(service, request)
    query = request.query_params
    storage = service.storage
    prefix, delimiter = query.get("prefix", ""), query.get("delimiter", "")
    names = entries(storage.names(container, prefix), prefix, delimiter)
    start = bisect_left(names, query.get("marker", ""))
    most = int(query.get("maxresults") or PAGE)
    shown = names[start : start + most]
    following = names[start + most] if start + most < len(names) else ""
    rows = "".join(row(storage, container, entry, delimiter) for entry in shown)
    host = service.config.blob_host
    body = (
        '<?xml version="1.0" encoding="utf-8"?>'
        f'<EnumerationResults ServiceEndpoint="https://{host}/" ContainerName="{container}">'
        f"<Prefix>{escape(prefix)}</Prefix><MaxResults>{most}</MaxResults>"
        f"<Blobs>{rows}</Blobs><NextMarker>{escape(following)}</NextMarker></EnumerationResults>"
    )
    return Response(body, 200, media_type="application/xml")


async def list_containers(service: StorageService, request: Request) -> Response:
    rows = "".join(
        f"<Container><Name>{name}</Name><Properties/></Container>"
        for name in service.storage.containers()
    )
    body = (
        '<?xml version="1.0" encoding="utf-8"?><EnumerationResults>'
        f"<Containers>{rows}</Containers><NextMarker/></EnumerationResults>"
    )
    return Response(body, 200, media_type="application/xml")


HANDLERS: dict[tuple[str, str, str], Handler[StorageService]] = {
    ("GET", "blob", ""): get_blob,
    ("HEAD", "blob", ""): head_blob,
    ("PUT", "blob", ""): put_blob,
    ("PUT", "blob", "block"): put_block,
    ("PUT", "blob", "blocklist"): put_block_list,
    ("PUT", "blob", "metadata"): put_metadata,
    ("PUT", "blob", "properties"): put_properties,
    ("DELETE", "blob", ""): delete_blob,
    ("GET", "container", ""): get_container,
    ("HEAD", "container", ""): get_container,
    ("PUT", "container", ""): put_container,
    ("DELETE", "container", ""): delete_container,
    ("GET", "container", "list"): list_blobs,
    ("GET", "account", "list"): list_containers,
}
METHODS = "GET HEAD POST PUT PATCH DELETE"
ROUTES: Routes[StorageService] = [
    (METHODS, "/", serve),
    (METHODS, "/{container}", serve),
    (METHODS, "/{container}/{name:path}", serve),
]
