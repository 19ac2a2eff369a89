"""What ARM's resources have in common: paths, types, who made them, bodies."""

import json
import re
from datetime import UTC, datetime
from typing import Any

from starlette.requests import Request

from emulator.protocol.errors import ArmError

PROVIDER_NAME = "Microsoft.MachineLearningServices"
PROVIDER = "/subscriptions/{subscription}/providers/Microsoft.MachineLearningServices"
LOCATION = PROVIDER + "/locations/{location}"
WORKSPACE = (
    "/subscriptions/{subscription}/resourceGroups/{group}"
    "/providers/Microsoft.MachineLearningServices/workspaces/{workspace}"
)
TYPE = "Microsoft.MachineLearningServices/workspaces"
DURATION = re.compile(r"P(?:0D)?T(?:(\d+)H)?(?:(\d+)M)?(?:([\d.]+)S)?")


def system_data(created: float) -> dict[str, str]:
    """Who made a resource, and when (unix seconds)."""
    when = datetime.fromtimestamp(created, UTC).isoformat().replace("+00:00", "Z")
    by = {"createdBy": "emulator", "createdByType": "Application"}
    return {"createdAt": when, "lastModifiedAt": when, **by}


def touched(system: dict[str, str], now: float) -> dict[str, str]:
    """The same of a resource that is changed now (unix seconds)."""
    return {**system, "lastModifiedAt": system_data(now)["createdAt"]}


def state(resource: dict[str, Any]) -> str:
    """The provisioning state of a resource."""
    return str(resource["properties"]["provisioningState"])


async def body_of(request: Request) -> dict[str, Any]:
    """The request's JSON object; empty where there is none. Raises ArmError 400."""
    body = body_of_bytes(await request.body())
    if not isinstance(body, dict) or not isinstance(body.get("properties") or {}, dict):
        raise invalid_content("an object was expected")
    return body


def body_of_bytes(content: bytes) -> Any:
    """The JSON of a request; an empty object where there is none. Raises ArmError 400."""
    try:
        return json.loads(content) if content else {}
    except (ValueError, RecursionError) as error:
        raise invalid_content(str(error)) from error


def invalid_content(why: str) -> ArmError:
    """ARM's answer to a body that it cannot read."""
    text = f"The request content was invalid and could not be deserialized: '{why}'."
    return ArmError(400, "InvalidRequestContent", text)


def duration(text: str) -> float:
    """Seconds of an ISO 8601 duration as the SDK sends it (``PT90S``, ``PT1M30S``); else 0."""
    match = DURATION.fullmatch(text)
    if match is None:
        return 0.0
    hours, minutes, rest = (float(part or 0) for part in match.groups())
    return 3600 * hours + 60 * minutes + rest
