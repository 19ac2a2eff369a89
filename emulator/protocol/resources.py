"""What ARM's resources have in common: paths, ids, the headers of long-running operations."""

import json
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from emulator.configuration import REGION
from emulator.protocol.errors import ArmError

if TYPE_CHECKING:
    from emulator.app import Emulator

PROVIDER = "/subscriptions/{subscription}/providers/Microsoft.MachineLearningServices"
WORKSPACE = (
    "/subscriptions/{subscription}/resourceGroups/{group}"
    "/providers/Microsoft.MachineLearningServices/workspaces/{workspace}"
)
PAGE = 100
TYPE = "Microsoft.MachineLearningServices/workspaces"


def emulator_of(request: Request) -> "Emulator":
    """The emulator that the request came to."""
    found: Emulator = request.app.state.emulator
    return found


def system_data(created: float) -> dict[str, str]:
    """Who made a resource, and when (unix seconds)."""
    when = datetime.fromtimestamp(created, UTC).isoformat().replace("+00:00", "Z")
    by = {"createdBy": "emulator", "createdByType": "Application"}
    return {"createdAt": when, "lastModifiedAt": when, **by}


async def body_of(request: Request) -> dict[str, Any]:
    """The request's JSON object; empty where there is none. Raises ArmError 400."""
    content = await request.body()
    try:
        found = json.loads(content) if content else {}
    except ValueError as error:
        raise invalid_content(str(error)) from error
    if not isinstance(found, dict) or not isinstance(found.get("properties") or {}, dict):
        raise invalid_content("an object was expected")
    return found


def invalid_content(why: str) -> ArmError:
    """ARM's answer to a body that it cannot read."""
    text = f"The request content was invalid and could not be deserialized: '{why}'."
    return ArmError(400, "InvalidRequestContent", text)


def _number(request: Request, name: str, default: int) -> int:
    """A query parameter that counts. Raises ArmError 400."""
    text = request.query_params.get(name) or str(default)
    if not text.isdecimal():
        raise ArmError(400, "BadArgument", f"The query parameter {name} is '{text}', not a number.")
    return int(text)


def accepted(
    request: Request, operation: str, body: dict[str, Any] | None, status: int
) -> Response:
    """Answer that the operation has begun, and where to ask after it."""
    emulator = emulator_of(request)
    place = (
        f"https://{emulator.config.management_host}"
        f"/subscriptions/{emulator.config.identity.subscription}"
        f"/providers/Microsoft.MachineLearningServices/locations/{REGION}"
    )
    version = request.query_params.get("api-version", "2023-10-01")
    headers = {
        "Azure-AsyncOperation": f"{place}/mfeOperationsStatus/{operation}?api-version={version}",
        "Location": f"{place}/mfeOperationResults/{operation}?api-version={version}",
        **pause(emulator),
    }
    if body is None:
        return Response(status_code=status, headers=headers)
    return JSONResponse(body, status_code=status, headers=headers)


def pause(emulator: "Emulator") -> dict[str, str]:
    """The header that tells the client when to look again; without it the SDK waits 30 s."""
    return {"x-ms-retry-after-ms": str(emulator.profile.poll_ms)}


def page(request: Request, found: list[dict[str, Any]]) -> JSONResponse:
    """A list as ARM answers it: ``$top`` and ``$skip``, with a link to what follows."""
    start, top = _number(request, "$skip", 0), _number(request, "$top", PAGE)
    body: dict[str, Any] = {"value": found[start : start + top]}
    if start + top < len(found):
        body["nextLink"] = str(request.url.include_query_params(**{"$skip": start + top}))
    return JSONResponse(body)
