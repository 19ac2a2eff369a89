"""The XML of a list of blobs."""

from email.utils import formatdate
from xml.sax.saxutils import escape

from emulator.services.storage.blobs import Storage


def entries(names: list[str], prefix: str, delimiter: str) -> list[str]:
    """Blob names, those below a delimiter folded into one prefix that ends with it."""
    if not delimiter:
        return names
    folded = set()
    for name in names:
        head, ending, _ = name.removeprefix(prefix).partition(delimiter)
        folded.add(prefix + head + ending)
    return sorted(folded)


def row(storage: Storage, container: str, name: str, delimiter: str) -> str:
    """One entry of a list: a blob, or a prefix that stands for all below it."""
    if delimiter and name.endswith(delimiter):
        return f"<BlobPrefix><Name>{escape(name)}</Name></BlobPrefix>"
    blob = storage.get(container, name)
    if blob is None:
        return ""
    about = {
        "Last-Modified": formatdate(blob.modified, usegmt=True),
        "Etag": blob.etag.strip('"'),
        "Content-Length": blob.size,
        "Content-Type": blob.content_type,
        "BlobType": "BlockBlob",
        "LeaseStatus": "unlocked",
        "LeaseState": "available",
        "ServerEncrypted": "true",
    }
    properties = "".join(f"<{key}>{value}</{key}>" for key, value in about.items())
    metadata = "".join(f"<{k}>{escape(v)}</{k}>" for k, v in blob.metadata.items())
    return (
        f"<Blob><Name>{escape(name)}</Name><Properties>{properties}</Properties>"
        f"<Metadata>{metadata}</Metadata></Blob>"
    )
