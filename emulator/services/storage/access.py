"""Who may do what in the storage account: Shared Key, shared access signatures, bearer tokens."""

from datetime import UTC, datetime

from starlette.requests import Request

from emulator.configuration import Configuration
from emulator.protocol import tokens
from emulator.protocol.errors import ArmError
from emulator.services.storage import signatures

PERMISSIONS = {"GET": "r", "HEAD": "r", "PUT": "cw", "DELETE": "d"}


def authorise(config: Configuration, now: float, request: Request) -> None:
    """Raises ArmError 401 or 403: no authorisation, or one that is wrong or has expired."""
    header = request.headers.get("authorization", "")
    account, key = config.account, config.identity.storage_key
    if header.startswith("SharedKey "):
        given = header.removeprefix("SharedKey ").partition(":")[2]
        expected = signatures.sign(key, signatures.shared_key_text(request, account))
    elif header:
        tokens.check(config, header, now, tokens.for_storage)
        return
    elif "sig" in request.query_params:
        given = request.query_params["sig"]
        text = signatures.account_sas_text if "ss" in request.query_params else signatures.sas_text
        expected = signatures.sign(key, text(request, account))
        _check_sas(now, request)
    else:
        raise ArmError(401, "NoAuthenticationInformation", "Server failed to authenticate the "
                       "request. Please refer to the information in the www-authenticate header.",
                       {"WWW-Authenticate": "SharedKey"})  # fmt: skip
    if not signatures.same(expected, given):
        raise ArmError(403, "AuthenticationFailed", "Server failed to authenticate the request. "
                       "Make sure the value of Authorization header is formed correctly including "
                       "the signature.")  # fmt: skip


def _check_sas(now: float, request: Request) -> None:
    query = request.query_params
    if not _unix(query.get("st") or "1970-01-01") <= now < _unix(query.get("se", "")):
        raise ArmError(403, "AuthenticationFailed", "Signature not valid in the specified time.")
    if query.get("sr") == "b" and not request.path_params.get("name"):
        raise ArmError(403, "AuthenticationFailed", "The signature is for a blob.")
    wanted = PERMISSIONS.get(request.method, "")
    if "comp" in query and query["comp"] == "list":
        wanted = "l"
    if not set(wanted) & set(query.get("sp", "")):
        raise ArmError(
            403,
            "AuthorizationPermissionMismatch",
            "This request is not authorized to perform this operation using this permission.",
        )


def _unix(text: str) -> float:
    """Unix seconds of a SAS's ISO 8601 time; 0 for what is none."""
    try:
        when = datetime.fromisoformat(text)
    except ValueError:
        return 0.0
    return when.replace(tzinfo=when.tzinfo or UTC).timestamp()
