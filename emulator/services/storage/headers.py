"""What the blob service reads from a request's headers, and what it answers in its own."""

import base64
import binascii
import re
from collections.abc import Mapping
from email.utils import formatdate

from starlette.requests import Request

from emulator.protocol.errors import ArmError, NotEmulated
from emulator.services.storage.blobs import Blob, Container

#: Content headers of a blob, by the header that sets each.
CONTENT = {
    "x-ms-blob-content-type": "Content-Type",
    "x-ms-blob-content-encoding": "Content-Encoding",
    "x-ms-blob-content-language": "Content-Language",
    "x-ms-blob-content-disposition": "Content-Disposition",
    "x-ms-blob-cache-control": "Cache-Control",
    "x-ms-blob-content-md5": "Content-MD5",
}
#: What Put Blob takes from the request's own headers where the blob's are not sent.
PLAIN = ("Content-Type", "Content-Encoding", "Content-Language", "Cache-Control")
DEFAULT_TYPE = "application/octet-stream"
METADATA = "x-ms-meta-"
METADATA_NAME = re.compile(r"[A-Za-z_]\w*", re.ASCII)
LEASE = {"x-ms-lease-status": "unlocked", "x-ms-lease-state": "available"}
#: Headers that ask for something that no blob here has: said, never dropped.
NOT_EMULATED = (
    "x-ms-if-tags",
    "x-ms-tags",
    "x-ms-encryption-key",
    "x-ms-encryption-scope",
    "x-ms-immutability-policy-until-date",
    "x-ms-immutability-policy-mode",
    "x-ms-legal-hold",
    "x-ms-content-crc64",
    "x-ms-structured-body",
    "x-ms-range-get-content-crc64",
    "x-ms-copy-source",
    "x-ms-default-encryption-scope",
    "x-ms-rehydrate-priority",
)
NOT_EMULATED_QUERY = ("versionid", "deletetype")


def check_emulated(operation: str, request: Request) -> None:
    """Raises NotEmulated with operation and parameter; ArmError 412 for a lease that is none."""
    for name in NOT_EMULATED:
        if request.headers.get(name, "false").lower() != "false":
            raise NotEmulated(f"{operation} with the header {name}.")
    for name in NOT_EMULATED_QUERY:
        if name in request.query_params:
            raise NotEmulated(f"{operation} with the query parameter {name}.")
    if request.headers.get("x-ms-access-tier", "Hot") != "Hot":
        tier = request.headers["x-ms-access-tier"]
        raise NotEmulated(f"{operation} with x-ms-access-tier '{tier}'; all blobs are Hot.")
    if "x-ms-lease-id" in request.headers:
        text = "There is currently no lease on the resource."
        kind = "Blob" if request.path_params.get("name") else "Container"
        raise ArmError(412, f"LeaseNotPresentWith{kind}Operation", text)


def content_of(headers: Mapping[str, str], *, plain: bool = False) -> dict[str, str]:
    """The content headers that a request gives its blob; with ``plain`` also by its own."""
    content = {name: headers[sent] for sent, name in CONTENT.items() if headers.get(sent)}
    if plain:
        own = {name: headers[name.lower()] for name in PLAIN if headers.get(name.lower())}
        content = own | content
    return {"Content-Type": DEFAULT_TYPE} | content


def metadata_of(headers: Mapping[str, str]) -> dict[str, str]:
    """Metadata by name. Raises ArmError 400: a name that is no identifier."""
    found = {k.removeprefix(METADATA): v for k, v in headers.items() if k.startswith(METADATA)}
    for name in found:
        if not METADATA_NAME.fullmatch(name):
            text = "The metadata specified is invalid. It has characters that are not permitted."
            raise ArmError(400, "InvalidMetadata" if name else "EmptyMetadataKey", text)
    return found


def check_md5(headers: Mapping[str, str], name: str, computed: bytes) -> None:
    """Raises ArmError 400: a header with an MD5 that is none, or that the content has not."""
    given = headers.get(name)
    if given is None:
        return
    try:
        wanted = base64.b64decode(given, validate=True)
    except binascii.Error:
        wanted = b""
    if len(wanted) != 16:
        text = "The MD5 value specified in the request is invalid. It must be 128 bits in base64."
        raise ArmError(400, "InvalidMd5", text)
    if wanted != computed:
        text = "The MD5 value specified in the request did not match with the MD5 value calculated."
        raise ArmError(400, "Md5Mismatch", text)


def changed(resource: Blob | Container) -> dict[str, str]:
    """ETag and time of the last change."""
    modified = formatdate(resource.modified, usegmt=True)
    return {"ETag": resource.etag, "Last-Modified": modified}


def metadata_headers(metadata: dict[str, str]) -> dict[str, str]:
    return {METADATA + name: value for name, value in metadata.items()}


def blob_headers(blob: Blob) -> dict[str, str]:
    """What Get Blob and Get Blob Properties say of a blob."""
    return {
        **blob.about.content,
        **changed(blob),
        **LEASE,
        **metadata_headers(blob.about.metadata),
        "Accept-Ranges": "bytes",
        "x-ms-blob-type": "BlockBlob",
        "x-ms-server-encrypted": "true",
        "x-ms-creation-time": formatdate(blob.created, usegmt=True),
    }
