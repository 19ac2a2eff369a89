"""What ARM's resources have in common: paths, types, who made them, bodies."""

import json
from datetime import UTC, datetime
from typing import Any

from starlette.requests import Request

from emulator.protocol.errors import ArmError

PROVIDER = "/subscriptions/{subscription}/providers/Microsoft.MachineLearningServices"
LOCATION = PROVIDER + "/locations/{location}"
WORKSPACE = (
    "/subscriptions/{subscription}/resourceGroups/{group}"
    "/providers/Microsoft.MachineLearningServices/workspaces/{workspace}"
)
TYPE = "Microsoft.MachineLearningServices/workspaces"


def system_data(created: float) -> dict[str, str]:
    """Who made a resource, and when (unix seconds)."""
    when = datetime.fromtimestamp(created, UTC).isoformat().replace("+00:00", "Z")
    by = {"createdBy": "emulator", "createdByType": "Application"}
    return {"createdAt": when, "lastModifiedAt": when, **by}


def state(resource: dict[str, Any]) -> str:
    """The provisioning state of a resource."""
    return str(resource["properties"]["provisioningState"])


async def body_of(request: Request) -> dict[str, Any]:
    """The request's JSON object; empty where there is none. Raises ArmError 400."""
    content = await request.body()
    try:
        body = json.loads(content) if content else {}
    except ValueError as error:
        raise invalid_content(str(error)) from error
    if not isinstance(body, dict) or not isinstance(body.get("properties") or {}, dict):
        raise invalid_content("an object was expected")
    return body


def invalid_content(why: str) -> ArmError:
    """ARM's answer to a body that it cannot read."""
    text = f"The request content was invalid and could not be deserialized: '{why}'."
    return ArmError(400, "InvalidRequestContent", text)
