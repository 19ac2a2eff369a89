"""Lists as ARM answers them: opaque tokens, and filters that are honoured or refused."""

import base64
import binascii
import json
from collections.abc import Collection, Iterable
from itertools import islice
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse

from emulator.protocol.descriptions import find
from emulator.protocol.errors import ArmError, NotEmulated
from emulator.store import END

PAGE = 100
TOKEN = "$skipToken"
#: What every list takes: how many, and from where (ARM's own name for the token is ``$skip``).
PAGING = ("$top", "count", "$skip", "$skiptoken", "api-version")


def page(
    request: Request, rows: list[dict[str, Any]], honoured: Collection[str] = ()
) -> JSONResponse:
    """One page of the rows, and a link to what follows where more does.

    The token names the last row that was told, so that what is inserted between two pages moves
    nothing. ``honoured`` are the filters that the rows have been chosen by. Raises ArmError 400: a
    token or a number that is none; NotEmulated: a filter that the operation has and nobody honours.
    """
    _check_filters(request, honoured)
    query = {name.lower(): value for name, value in request.query_params.items()}
    top = _number(query.get("$top") or query.get("count"))
    start = _start(query.get("$skiptoken") or query.get("$skip"), rows)
    told = rows[start : start + top]
    body: dict[str, Any] = {"value": told}
    if told and start + top < len(rows):
        body["nextLink"] = _link(request, _encoded([_key(told[-1]), start + top]))
    return JSONResponse(body)


def scanned(
    request: Request, rows: Iterable[tuple[int, dict[str, Any]]], honoured: Collection[str] = ()
) -> JSONResponse:
    """One page of rows that come from the database with their places, read as far as they are told.

    ``before`` says where they must begin. Raises what ``page`` raises.
    """
    _check_filters(request, honoured)
    query = {name.lower(): value for name, value in request.query_params.items()}
    top = _number(query.get("$top") or query.get("count"))
    told = list(islice(rows, top + 1))
    body: dict[str, Any] = {"value": [row for _, row in told[:top]]}
    if len(told) > top:
        body["nextLink"] = _link(request, _encoded(["place", told[top - 1][0]]))
    return JSONResponse(body)


def before(request: Request) -> int:
    """The place that the page's rows must come before. Raises ArmError 400."""
    query = {name.lower(): value for name, value in request.query_params.items()}
    token = query.get("$skiptoken") or query.get("$skip")
    if not token:
        return END
    key, place = _decoded(token)
    if key != "place":
        raise _bad_token(token)
    return place


def _link(request: Request, token: str) -> str:
    url = request.url.remove_query_params(["$skip", "$skiptoken", TOKEN])
    return str(url.include_query_params(**{TOKEN: token}))


def _encoded(value: list[Any]) -> str:
    return base64.urlsafe_b64encode(json.dumps(value).encode()).decode()


def _decoded(token: str) -> tuple[str, int]:
    """What a token says. Raises ArmError 400."""
    try:
        key, position = json.loads(base64.urlsafe_b64decode(token.encode()))
        return str(key), int(position)
    except (ValueError, TypeError, binascii.Error) as error:
        raise _bad_token(token) from error


def _bad_token(token: str) -> ArmError:
    text = f"The continuation token '{token}' is not one that this list has given."
    return ArmError(400, "InvalidContinuationToken", text)


def _check_filters(request: Request, honoured: Collection[str]) -> None:
    operation = find(request.method, request.url.path, dict(request.query_params))
    declared = {name.lower() for name in (operation.about.get("query") or {})} if operation else ()
    known = {name.lower() for name in honoured} | set(PAGING)
    for name, value in request.query_params.items():
        if value and name.lower() in declared and name.lower() not in known:
            raise NotEmulated(f"the filter '{name}' of this list.")


def _key(row: dict[str, Any]) -> str:
    """What tells a row of a list from the others."""
    return str(row.get("id") or row.get("name"))


def _start(token: str | None, rows: list[dict[str, Any]]) -> int:
    """Where the page begins: after the token's row; at its position if the row has gone since."""
    if not token:
        return 0
    key, position = _decoded(token)
    places = [place for place, row in enumerate(rows) if _key(row) == key]
    return places[0] + 1 if places else position - 1


def _number(text: str | None) -> int:
    """How many rows a page has. Raises ArmError 400."""
    if text is None:
        return PAGE
    if not text.isdecimal() or not int(text) > 0:
        raise ArmError(400, "BadArgument", f"'{text}' rows: a page has 1 or more.")
    return min(int(text), PAGE)


def ordered(rows: list[dict[str, Any]], order: str | None) -> list[dict[str, Any]]:
    """Rows that come newest first, as ``createdtime asc`` or ``CreatedAtAsc`` wants them.

    Raises NotEmulated: an order by something else.
    """
    wanted = (order or "createdtime desc").lower().replace(" ", "")
    if wanted in ("createdtimeasc", "createdatasc"):
        return rows[::-1]
    if wanted in ("createdtimedesc", "createdatdesc", "createdtime"):
        return rows
    if wanted in ("updatedatasc", "updatedatdesc"):
        newest_first = wanted.endswith("desc")
        return sorted(rows, key=lambda row: str(_modified(row)), reverse=newest_first)
    raise NotEmulated(f"the order '{order}' of this list.")


def _modified(row: dict[str, Any]) -> str:
    return str((row.get("systemData") or {}).get("lastModifiedAt"))
