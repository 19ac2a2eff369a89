"""Shared Key and shared access signatures of Azure Storage, computed as the service does.

Source: Azure Storage's REST reference, "Authorize with Shared Key" and "Create a service SAS".
"""

import base64
import hashlib
import hmac
from urllib.parse import quote, urlencode

from starlette.requests import Request

SIGNED_HEADERS = (
    "content-encoding",
    "content-language",
    "content-length",
    "content-md5",
    "content-type",
    "date",
    "if-modified-since",
    "if-match",
    "if-none-match",
    "if-unmodified-since",
    "range",
)
#: The order of a service SAS's fields in the text that is signed (version 2020-12-06 and later).
SAS_FIELDS = ("si", "sip", "spr", "sv", "sr", "snapshot", "ses")
ACCOUNT_SAS_FIELDS = ("sp", "ss", "srt", "st", "se", "sip", "spr", "sv", "ses")
SAS_ANSWER_FIELDS = ("rscc", "rscd", "rsce", "rscl", "rsct")


def sign(key: str, text: str) -> str:
    """HMAC-SHA256 with the account's base64 key, as base64."""
    digest = hmac.new(base64.b64decode(key), text.encode(), hashlib.sha256)
    return base64.b64encode(digest.digest()).decode()


def shared_key_text(request: Request, account: str) -> str:
    """The text that a Shared Key signature of this request signs."""
    headers = request.headers
    values = [headers.get(name, "") for name in SIGNED_HEADERS]
    values[2] = "" if values[2] == "0" else values[2]
    if "x-ms-date" in headers:
        values[5] = ""
    special = sorted(name for name in headers if name.startswith("x-ms-"))
    canonical = [f"{name}:{' '.join(headers[name].split())}" for name in special]
    return "\n".join([request.method, *values, *canonical, _resource(request, account)])


def _resource(request: Request, account: str) -> str:
    path = request.scope["raw_path"].decode("latin-1").split("?")[0]
    parameters: dict[str, list[str]] = {}
    for name, value in request.query_params.multi_items():
        parameters.setdefault(name.lower(), []).append(value)
    lines = [f"{name}:{','.join(sorted(parameters[name]))}" for name in sorted(parameters)]
    return "\n".join([f"/{account}{path}", *lines])


def sas_text(request: Request, account: str) -> str:
    """The text that a service SAS for this blob or its container signs."""
    query = request.query_params
    path: str = request.scope["path"]  # decoded, as it is signed
    if query.get("sr") == "c":
        path = "/" + path.strip("/").split("/")[0]
    head = [query.get(name, "") for name in ("sp", "st", "se")]
    middle = [query.get(name, "") for name in SAS_FIELDS]
    answer = [query.get(name, "") for name in SAS_ANSWER_FIELDS]
    return "\n".join([*head, f"/blob/{account}{path}", *middle, *answer])


def account_sas_text(request: Request, account: str) -> str:
    """The text that an account SAS signs (version 2020-12-06 and later)."""
    query = request.query_params
    fields = [query.get(name, "") for name in ACCOUNT_SAS_FIELDS]
    return "\n".join([account, *fields, ""])


def same(expected: str, given: str) -> bool:
    """Compare two signatures in constant time."""
    return hmac.compare_digest(expected, given)


def signed_address(
    host: str, account: str, key: str, blob: str, permissions: str, until: str
) -> str:
    """A blob's address with a service SAS: ``blob`` is ``container/name``, ``until`` ISO 8601."""
    fields = {"sp": permissions, "se": until, "spr": "https", "sv": "2021-08-06", "sr": "b"}
    head = [fields["sp"], "", fields["se"], f"/blob/{account}/{blob}"]
    middle = [fields.get(name, "") for name in SAS_FIELDS]
    signature = sign(key, "\n".join([*head, *middle, *([""] * len(SAS_ANSWER_FIELDS))]))
    return f"https://{host}/{quote(blob)}?{urlencode({**fields, 'sig': signature})}"
