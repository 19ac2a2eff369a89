"""Who may do what in the storage account: Shared Key, shared access signatures, bearer tokens.

Source: Storage's REST reference, "Authorize with Shared Key", "Create a service SAS", "Create an
account SAS" (permissions, services, resource types), "Authorize with Microsoft Entra ID".
"""

import ipaddress
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

from starlette.requests import Request

from emulator.configuration import Configuration
from emulator.protocol import tokens
from emulator.protocol.errors import ArmError, NotEmulated
from emulator.services.storage import signatures

CLOCKS_DIFFER_S = 15 * 60
ALL = "racwdl"
USER_DELEGATION = "skoid"
SCOPES_NOT_EMULATED = {"d": "a folder", "bs": "a snapshot", "bv": "a version"}


@dataclass(frozen=True)
class Right:
    """What a signature must carry for an operation: one of these letters.

    ``service`` is for a service SAS, empty where none opens it; ``account`` and the resource type
    ``kind`` (``s``, ``c``, ``o``: service, container, object) are for an account SAS.
    """

    service: str
    account: str
    kind: str


def authorise(config: Configuration, now: float, request: Request, right: Right) -> str:
    """What the caller may do beside: the letters of the signature, all of them for a key or token.

    Raises ArmError 401 or 403: no authorisation, or one that is wrong, has expired or is for
    something else.
    """
    header = request.headers.get("authorization", "")
    if header.startswith("SharedKey "):
        _check_key(config, now, request, header)
    elif header:
        tokens.check_storage(config, header, now)
    elif "sig" in request.query_params:
        _check_sas(config, now, request, right)
        return request.query_params.get("sp", "")
    else:
        raise tokens.storage_challenge(config)
    return ALL


def _check_key(config: Configuration, now: float, request: Request, header: str) -> None:
    account, _, given = header.removeprefix("SharedKey ").partition(":")
    expected = signatures.sign(
        config.identity.storage_key, signatures.shared_key_text(request, config.account)
    )
    if account != config.account or not signatures.same(expected, given):
        raise _failed("The MAC signature of the request is not the same as any computed signature.")
    text = request.headers.get("x-ms-date") or request.headers.get("date", "")
    try:
        sent = parsedate_to_datetime(text).timestamp()
    except ValueError:
        raise _failed("The Date header is missing or no date.") from None
    if abs(now - sent) > CLOCKS_DIFFER_S:
        raise _failed(f"Request date header too old: '{text}'.")


def _check_sas(config: Configuration, now: float, request: Request, right: Right) -> None:
    """Signature first, then what it says of itself: nothing is told to who cannot sign."""
    query = request.query_params
    if USER_DELEGATION in query:
        raise NotEmulated("user delegation signatures (skoid).")
    if query.get("sr", "") in SCOPES_NOT_EMULATED:
        kind = SCOPES_NOT_EMULATED[query["sr"]]
        raise NotEmulated(f"signatures for {kind} (sr={query['sr']}).")
    of_account = "ss" in query
    text = signatures.account_sas_text if of_account else signatures.sas_text
    expected = signatures.sign(config.identity.storage_key, text(request, config.account))
    if not signatures.same(expected, query["sig"]):
        raise _failed("Signature did not match.")
    if query.get("si"):
        raise _failed("There is no stored access policy of this name: policies are not kept.")
    if not _unix(query.get("st") or "1970-01-01") <= now < _unix(query.get("se", "")):
        raise _failed("Signature not valid in the specified time frame.")
    _check_sender(request)
    if of_account:
        _check_account_sas(request, right)
    elif not set(right.service) & set(query.get("sp", "")):
        raise _mismatch("Permission", "permission")


def _check_account_sas(request: Request, right: Right) -> None:
    query = request.query_params
    if "b" not in query["ss"]:
        raise _mismatch("Service", "service")
    if right.kind not in query.get("srt", ""):
        raise _mismatch("ResourceType", "resource type")
    if not set(right.account) & set(query.get("sp", "")):
        raise _mismatch("Permission", "permission")


def _check_sender(request: Request) -> None:
    """Raises ArmError 403: another protocol or address than the signature is for."""
    protocol = request.query_params.get("spr") or "https,http"
    if request.url.scheme not in protocol.split(","):
        raise _mismatch("Protocol", "protocol")
    allowed = request.query_params.get("sip")
    if not allowed:
        return
    first, _, last = allowed.partition("-")
    sender = request.client.host if request.client else ""
    try:
        low, own, high = (ipaddress.ip_address(one) for one in (first, sender, last or first))
    except ValueError:
        raise _failed("The signed IP address is not valid.") from None
    if not int(low) <= int(own) <= int(high):
        raise _mismatch("SourceIP", "source IP")


def _mismatch(what: str, words: str) -> ArmError:
    text = f"This request is not authorized to perform this operation using this {words}."
    return ArmError(403, f"Authorization{what}Mismatch", text)


def permission_mismatch() -> ArmError:
    """A signature without the letter that an operation needs."""
    return _mismatch("Permission", "permission")


def _failed(why: str) -> ArmError:
    return ArmError(
        403,
        "AuthenticationFailed",
        "Server failed to authenticate the request. Make sure the value of Authorization header "
        f"is formed correctly including the signature. {why}",
    )


def _unix(text: str) -> float:
    """Unix seconds of a SAS's ISO 8601 time; 0 for what is none."""
    try:
        when = datetime.fromisoformat(text)
    except ValueError:
        return 0.0
    return when.replace(tzinfo=when.tzinfo or UTC).timestamp()
