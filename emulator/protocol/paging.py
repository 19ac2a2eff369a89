"""Lists as ARM answers them."""

from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse

from emulator.protocol.errors import ArmError

PAGE = 100


def page(request: Request, rows: list[dict[str, Any]]) -> JSONResponse:
    """One page of the rows: ``$top`` and ``$skip``, with a link to what follows."""
    start, top = _number(request, "$skip", 0), _number(request, "$top", PAGE)
    body: dict[str, Any] = {"value": rows[start : start + top]}
    if start + top < len(rows):
        body["nextLink"] = str(request.url.include_query_params(**{"$skip": start + top}))
    return JSONResponse(body)


def _number(request: Request, name: str, default: int) -> int:
    """A query parameter that counts. Raises ArmError 400."""
    text = request.query_params.get(name) or str(default)
    if not text.isdecimal():
        raise ArmError(400, "BadArgument", f"The query parameter {name} is '{text}', not a number.")
    return int(text)
