"""Lists of blobs and containers: pages, prefixes, their XML."""

from bisect import bisect_left
from collections.abc import Callable
from dataclasses import dataclass
from email.utils import formatdate
from xml.sax.saxutils import escape, quoteattr

from starlette.requests import Request

from emulator.protocol.errors import ArmError, NotEmulated
from emulator.services.storage.blobs import Blob, Container, Storage

PAGE = 5000
#: What a list may be asked to include; where nothing has it, an account answers without.
INCLUDES = ("metadata", "snapshots", "versions", "deleted", "copy", "tags", "deletedwithversions",
            "immutabilitypolicy", "legalhold", "permissions", "system")  # fmt: skip
HEAD = '<?xml version="1.0" encoding="utf-8"?>'


@dataclass(frozen=True)
class Wanted:
    """What a list asks for; ``most`` rows at a time, from ``marker`` on."""

    prefix: str
    delimiter: str
    marker: str
    most: int
    metadata: bool

    @property
    def echo(self) -> str:
        """The parameters, as a list's answer repeats them."""
        parts = {
            "Prefix": self.prefix,
            "Marker": self.marker,
            "MaxResults": str(self.most),
            "Delimiter": self.delimiter,
        }
        return "".join(
            f"<{name}>{escape(value)}</{name}>"
            for name, value in parts.items()
            if value or name != "Delimiter"
        )


def wanted_of(request: Request) -> Wanted:
    """Read a list's query. Raises ArmError 400, and 501 for blobs that are not committed."""
    query = request.query_params
    asked = query.get("maxresults", "")
    if asked and not asked.isdecimal():
        raise _bad("InvalidQueryParameterValue", "maxresults", asked)
    if asked and int(asked) == 0:
        raise _bad("OutOfRangeQueryParameterValue", "maxresults", asked)
    include = [part for part in query.get("include", "").lower().split(",") if part]
    for part in include:
        if part == "uncommittedblobs":
            raise NotEmulated("List Blobs with include=uncommittedblobs.")
        if part not in INCLUDES:
            raise _bad("InvalidQueryParameterValue", "include", part)
    most = min(int(asked or PAGE), PAGE)
    prefix, delimiter = query.get("prefix", ""), query.get("delimiter", "")
    marker = query.get("marker", "")
    return Wanted(prefix, delimiter, marker, most, "metadata" in include)


def _bad(code: str, name: str, value: str) -> ArmError:
    text = f"The query parameter {name} cannot be '{value}'."
    return ArmError(400, code, text)


def blob_list(storage: Storage, container: str, wanted: Wanted, host: str) -> str:
    """One page of a container's blobs, flat or folded at the delimiter."""
    names = _folded(storage.names(container, wanted.prefix), wanted.prefix, wanted.delimiter)

    def row(name: str) -> str:
        if wanted.delimiter and name.endswith(wanted.delimiter):
            return f"<BlobPrefix><Name>{escape(name)}</Name></BlobPrefix>"
        blob = storage.get(container, name)  # None: deleted since it was listed
        return "" if blob is None else _blob_row(blob, wanted.metadata)

    name = f" ContainerName={quoteattr(container)}"
    return _page(names, wanted, f'ServiceEndpoint="https://{host}/"{name}', "Blobs", row)


def container_list(storage: Storage, wanted: Wanted, host: str) -> str:
    """One page of the account's containers."""
    names = [name for name in storage.containers() if name.startswith(wanted.prefix)]

    def row(name: str) -> str:
        return _container_row(storage.container(name), wanted.metadata)

    return _page(names, wanted, f'ServiceEndpoint="https://{host}/"', "Containers", row)


def _page(
    names: list[str], wanted: Wanted, about: str, kind: str, row: Callable[[str], str]
) -> str:
    start = bisect_left(names, wanted.marker)
    end = start + wanted.most
    following = names[end] if end < len(names) else ""
    rows = "".join(row(name) for name in names[start:end])
    return (
        f"{HEAD}<EnumerationResults {about}>{wanted.echo}<{kind}>{rows}</{kind}>"
        f"<NextMarker>{escape(following)}</NextMarker></EnumerationResults>"
    )


def _folded(names: list[str], prefix: str, delimiter: str) -> list[str]:
    """Blob names, those below a delimiter folded into one prefix that ends with it."""
    if not delimiter:
        return names
    folded = set()
    for name in names:
        head, ending, _ = name.removeprefix(prefix).partition(delimiter)
        folded.add(prefix + head + ending)
    return sorted(folded)


def _blob_row(blob: Blob, metadata: bool) -> str:
    about = {
        "Creation-Time": formatdate(blob.created, usegmt=True),
        "Last-Modified": formatdate(blob.modified, usegmt=True),
        "Etag": blob.etag.strip('"'),
        "Content-Length": str(blob.size),
        **{name: value for name, value in blob.about.content.items()},
        "BlobType": "BlockBlob",
        "AccessTier": "Hot",
        "AccessTierInferred": "true",
        "AccessTierChangeTime": formatdate(blob.created, usegmt=True),
        "LeaseStatus": "unlocked",
        "LeaseState": "available",
        "ServerEncrypted": "true",
    }
    told = _elements("Metadata", blob.about.metadata) if metadata else ""
    return f"<Blob><Name>{escape(blob.name)}</Name>{_elements('Properties', about)}{told}</Blob>"


def _container_row(container: Container, metadata: bool) -> str:
    about = {
        "Last-Modified": formatdate(container.modified, usegmt=True),
        "Etag": container.etag,
        "LeaseStatus": "unlocked",
        "LeaseState": "available",
        "HasImmutabilityPolicy": "false",
        "HasLegalHold": "false",
    }
    told = _elements("Metadata", container.metadata) if metadata else ""
    name = escape(container.name)
    return f"<Container><Name>{name}</Name>{_elements('Properties', about)}{told}</Container>"


def _elements(name: str, values: dict[str, str]) -> str:
    inner = "".join(f"<{key}>{escape(value)}</{key}>" for key, value in values.items())
    return f"<{name}>{inner}</{name}>"
