"""What can be asked of a blob: its bytes, properties, metadata, blocks."""

import asyncio
import base64
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from xml.etree import ElementTree
from xml.sax.saxutils import escape

from starlette.requests import Request
from starlette.responses import Response

from emulator.clock import Clock
from emulator.configuration import Configuration
from emulator.protocol.errors import ArmError, NotEmulated
from emulator.services.storage import conditions, content, headers
from emulator.services.storage.access import permission_mismatch
from emulator.services.storage.blobs import About, Blob, Storage
from emulator.services.storage.blocks import Blocks, Wanted

ENCRYPTED = {"x-ms-request-server-encrypted": "true"}
#: What a signature may put in the place of a blob's own content headers.
OVERRIDES = {
    "rscc": "Cache-Control",
    "rscd": "Content-Disposition",
    "rsce": "Content-Encoding",
    "rscl": "Content-Language",
    "rsct": "Content-Type",
}
KINDS = ("Committed", "Uncommitted", "Latest")


@dataclass(frozen=True)
class StorageService:
    """What the blob service asks."""

    config: Configuration
    clock: Clock
    storage: Storage


def place(service: StorageService, request: Request) -> tuple[str, str]:
    """Container and blob name. Raises ArmError 404: no such container."""
    container = request.path_params["container"]
    if not service.storage.has(container):
        raise ArmError(404, "ContainerNotFound", "The specified container does not exist.")
    return container, request.path_params.get("name", "")


def _known(service: StorageService, request: Request) -> Blob | None:
    return service.storage.get(*place(service, request))


def _to_read(service: StorageService, request: Request) -> Blob:
    """The blob, where the conditions of a read are met. Raises ArmError 304, 404 or 412."""
    blob = None if "snapshot" in request.query_params else _known(service, request)
    conditions.check_read(conditions.conditions_of(request.headers), _state(blob))
    return _there(blob)


def _to_change(service: StorageService, request: Request) -> Blob:
    """The blob, where the conditions of a write are met. Raises ArmError 404 or 412."""
    blob = _there(_known(service, request))
    conditions.check_write(conditions.conditions_of(request.headers), _state(blob))
    return blob


def _check_replacing(service: StorageService, request: Request) -> None:
    """Raises ArmError 403, 409 or 412: the blob may not be written as it is now."""
    known = _known(service, request)
    given = conditions.conditions_of(request.headers)
    if known is not None and not set("w") & set(request.state.letters):
        raise permission_mismatch()
    if known is not None and given.none_match[:1] == ("*",):
        raise ArmError(409, "BlobAlreadyExists", "The specified blob already exists.")
    conditions.check_write(given, _state(known))


def _there(blob: Blob | None) -> Blob:
    if blob is None:
        raise ArmError(404, "BlobNotFound", "The specified blob does not exist.")
    return blob


def _state(blob: Blob | None) -> conditions.State | None:
    return conditions.State(blob.etag.strip('"'), blob.modified) if blob else None


async def get_blob(service: StorageService, request: Request) -> Response:
    """The blob or a range of it, by the headers that a signature may replace."""
    blob = _to_read(service, request)
    path = service.storage.file(*place(service, request))
    wanted = content.range_of(request, blob.size)
    start, size = (0, blob.size) if wanted is None else (wanted[0], wanted[1] - wanted[0] + 1)
    told = _told(blob, request)
    file = path.open("rb")
    try:
        if wanted is not None:
            whole = told.pop("Content-MD5", None)
            told |= {"x-ms-blob-content-md5": whole} if whole else {}
            told["Content-Range"] = f"bytes {start}-{wanted[1]}/{blob.size}"
            if request.headers.get("x-ms-range-get-content-md5", "").lower() == "true":
                told["Content-MD5"] = _base64(content.hash_of(file, start, size))
    except ArmError:
        file.close()
        raise
    return content.Content(file, start, size, told)


def _told(blob: Blob, request: Request) -> dict[str, str]:
    query = request.query_params
    signed = {OVERRIDES[name]: query[name] for name in OVERRIDES if query.get(name)}
    return headers.blob_headers(blob) | signed


async def head_blob(service: StorageService, request: Request) -> Response:
    blob = _to_read(service, request)
    tier = {"x-ms-access-tier": "Hot", "x-ms-access-tier-inferred": "true"}
    told = {**_told(blob, request), **tier, "Content-Length": str(blob.size)}
    return Response(None, 200, told)


async def put_blob(service: StorageService, request: Request) -> Response:
    """Put Blob: the whole of a block blob in one request."""
    _check_kind(request)
    _check_replacing(service, request)
    about = About(
        headers.content_of(request.headers, plain=True), headers.metadata_of(request.headers)
    )
    part = service.storage.part()
    digest = await content.receive(request, part)
    try:
        for name in ("content-md5", "x-ms-blob-content-md5"):
            headers.check_md5(request.headers, name, digest)
        _check_replacing(service, request)  # another request may have come first
    except ArmError:
        part.unlink()
        raise
    about.content["Content-MD5"] = _base64(digest)
    return _stored(service, request, part, about, {"Content-MD5": _base64(digest)})


def _check_kind(request: Request) -> None:
    kind = request.headers.get("x-ms-blob-type")
    if kind is None:
        text = "An HTTP header that is mandatory for this request is not specified: x-ms-blob-type."
        raise ArmError(400, "MissingRequiredHeader", text)
    if kind in ("PageBlob", "AppendBlob"):
        raise NotEmulated(f"Put Blob with x-ms-blob-type '{kind}'.")
    if kind != "BlockBlob":
        text = f"The value for the HTTP header x-ms-blob-type is not known: '{kind}'."
        raise ArmError(400, "InvalidHeaderValue", text)


def _stored(
    service: StorageService, request: Request, part: Path, about: About, md5: dict[str, str]
) -> Response:
    container, name = place(service, request)
    blob = service.storage.put(container, name, part, about)
    Blocks(service.storage, container, name).drop()
    return Response(None, 201, {**md5, **headers.changed(blob), **ENCRYPTED})


def _checked(request: Request, digest: bytes) -> dict[str, str]:
    """The hash of a request's body, told to who sent one; others get none since 2019-02-02."""
    return {"Content-MD5": _base64(digest)} if "content-md5" in request.headers else {}


async def put_block(service: StorageService, request: Request) -> Response:
    container, name = place(service, request)
    id_ = request.query_params.get("blockid")
    if not id_:
        text = "A query parameter that is mandatory for this request is not specified: blockid."
        raise ArmError(400, "MissingRequiredQueryParameter", text)
    blocks = Blocks(service.storage, container, name)
    blocks.check_id(id_)
    part = service.storage.part()
    digest = await content.receive(request, part)
    try:
        headers.check_md5(request.headers, "content-md5", digest)
    except ArmError:
        part.unlink()
        raise
    blocks.stage(id_, part)
    return Response(None, 201, {**_checked(request, digest), **ENCRYPTED})


async def put_block_list(service: StorageService, request: Request) -> Response:
    """Put Block List: committed and uncommitted blocks become the blob, in the list's order."""
    container, name = place(service, request)
    _check_replacing(service, request)
    about = About(headers.content_of(request.headers), headers.metadata_of(request.headers))
    body = await request.body()
    digest = hashlib.md5(body).digest()
    headers.check_md5(request.headers, "content-md5", digest)
    wanted = _wanted(body)
    part = service.storage.part()
    blocks = Blocks(service.storage, container, name)
    try:
        made = await asyncio.to_thread(blocks.commit, wanted, part)  # may be large
        _check_replacing(service, request)  # another request may have come first
    except ArmError:
        part.unlink()
        raise
    about = replace(about, blocks=made)
    return _stored(service, request, part, about, _checked(request, digest))


def _wanted(body: bytes) -> list[Wanted]:
    """Read a block list. Raises ArmError 400."""
    try:
        listed = ElementTree.fromstring(body)
    except ElementTree.ParseError as error:
        raise ArmError(400, "InvalidXmlDocument", f"XML specified is not valid: {error}") from error
    wanted = [Wanted(block.tag, (block.text or "").strip()) for block in listed]
    if any(one.kind not in KINDS for one in wanted):
        known = ", ".join(KINDS)
        text = f"XML specified is not valid: a block is none of {known}."
        raise ArmError(400, "InvalidXmlNodeValue", text)
    return wanted


async def get_block_list(service: StorageService, request: Request) -> Response:
    """The blocks of a blob: those that are its content, those that are not yet, or both."""
    container, name = place(service, request)
    asked = request.query_params.get("blocklisttype", "committed").lower()
    if asked not in ("committed", "uncommitted", "all"):
        text = f"The query parameter blocklisttype cannot be '{asked}'."
        raise ArmError(400, "InvalidQueryParameterValue", text)
    blob = service.storage.get(container, name)
    staged = Blocks(service.storage, container, name).uncommitted()
    if blob is None and not staged:
        _there(blob)
    committed = blob.about.blocks if blob else ()
    parts = {
        "CommittedBlocks": (committed, "uncommitted"),
        "UncommittedBlocks": (staged, "committed"),
    }
    body = "".join(
        f"<{kind}>{_block_rows(() if asked == other else rows)}</{kind}>"
        for kind, (rows, other) in parts.items()
    )
    told = {"x-ms-blob-content-length": str(blob.size if blob else 0)}
    told |= headers.changed(blob) if blob else {}
    text = f'<?xml version="1.0" encoding="utf-8"?><BlockList>{body}</BlockList>'
    return Response(text, 200, told, "application/xml")


def _block_rows(blocks: Sequence[tuple[str, int]]) -> str:
    return "".join(
        f"<Block><Name>{escape(id_)}</Name><Size>{size}</Size></Block>" for id_, size in blocks
    )


async def get_metadata(service: StorageService, request: Request) -> Response:
    blob = _to_read(service, request)
    told = headers.metadata_headers(blob.about.metadata)
    return Response(None, 200, {**headers.changed(blob), **told})


async def put_metadata(service: StorageService, request: Request) -> Response:
    """Set Blob Metadata: all of it is replaced, and the blob has changed."""
    about = _to_change(service, request).about
    metadata = headers.metadata_of(request.headers)
    about = replace(about, metadata=metadata)
    blob = service.storage.change(*place(service, request), about)
    return Response(None, 200, {**headers.changed(blob), **ENCRYPTED})


async def put_properties(service: StorageService, request: Request) -> Response:
    """Set Blob Properties: all content headers are replaced; what is not sent is cleared."""
    about = _to_change(service, request).about
    about = replace(about, content=headers.content_of(request.headers))
    blob = service.storage.change(*place(service, request), about)
    return Response(None, 200, headers.changed(blob))


async def delete_blob(service: StorageService, request: Request) -> Response:
    """Delete Blob; no blob has snapshots."""
    _to_change(service, request)
    snapshots = request.headers.get("x-ms-delete-snapshots", "include")
    if snapshots not in ("include", "only"):
        text = "The value for the HTTP header x-ms-delete-snapshots is not known."
        raise ArmError(400, "InvalidHeaderValue", text)
    if snapshots == "include":
        service.storage.delete(*place(service, request))
    return Response(None, 202, {"x-ms-delete-type-permanent": "true"})


def _base64(digest: bytes) -> str:
    return base64.b64encode(digest).decode()
