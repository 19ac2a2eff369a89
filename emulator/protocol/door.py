"""The door of ARM and the data plane: no handler sees a request that the descriptions forbid."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from starlette.requests import Request

from emulator.configuration import REGION
from emulator.protocol.descriptions import Operation, Violation, find
from emulator.protocol.descriptions.api_versions import known
from emulator.protocol.descriptions.operations import UNDECLARED_QUERY
from emulator.protocol.errors import ArmError
from emulator.protocol.resources import PROVIDER_NAME, body_of_bytes, invalid_content

MLFLOW = "mlflow"  # its file of descriptions; it refuses in words of its own
NO_MEMBER = "a resource has no such member"


class MlflowError(ArmError):
    """A refusal in the shape that MLflow's clients read."""

    def body(self) -> dict[str, Any]:
        return {"error_code": self.code, "message": self.message}


@dataclass(frozen=True)
class Asked:
    """A request and the operation that it means."""

    operation: Operation
    query: dict[str, str]
    headers: dict[str, str]

    @property
    def has_body(self) -> bool:
        return bool(self.operation.about.get("body"))


def asked(request: Request) -> Asked | None:
    """What a request means; None where no description has it."""
    query = dict(request.query_params)
    operation = find(request.method, request.url.path, query)
    return None if operation is None else Asked(operation, query, dict(request.headers))


def check_version(asked: Asked) -> None:
    """Raises ArmError 400: ARM's own refusals of an api-version, which come before all others."""
    wrong = asked.operation.check_version(asked.query)
    if wrong:
        raise _version_refused(asked, wrong[0])


def check_content(asked: Asked, content: bytes) -> None:
    """Raises ArmError 400: names, queries, headers or a body that the description forbids."""
    body = body_of_bytes(content) if asked.has_body and content else None
    try:
        found = asked.operation.check_request(asked.query, asked.headers, body)
    except RecursionError as error:
        raise invalid_content("it is nested too deeply") from error
    wrong = [one for one in found if one.code != UNDECLARED_QUERY]
    if wrong:
        raise refused(asked.operation, wrong, content)


def refused(operation: Operation, wrong: Sequence[Violation], content: bytes) -> ArmError:
    """The answer to a request with these faults; every one is in ``details`` with its path."""
    first = wrong[0]
    if operation.file == MLFLOW:
        return MlflowError(400, "INVALID_PARAMETER_VALUE", " ".join(str(one) for one in wrong))
    if first.allowed == NO_MEMBER:
        text = _no_member(first.path.removeprefix("body."), content)
    else:
        text = " ".join(str(one) for one in wrong)
    details = [{"code": one.code, "message": str(one), "target": one.path} for one in wrong]
    message = f"The request content was invalid and could not be deserialized: '{text}'."
    if not first.path.startswith("body"):
        message = text
    return ArmError(400, first.code, message, target=first.path, details=details)


def _no_member(name: str, content: bytes) -> str:
    """ARM's words; the position is that of the colon after the name, as its JSON reader counts."""
    text = content.decode("utf-8", "replace")
    place = max(text.find(json.dumps(name)), 0)
    line = text.count("\n", 0, place) + 1
    column = place - (text.rfind("\n", 0, place) + 1) + len(json.dumps(name)) + 1
    return (
        f"Could not find member '{name}' on object of type 'ResourceDefinition'. "
        f"Path '{name}', line {line}, position {column}."
    )


def _version_refused(asked: Asked, wrong: Violation) -> ArmError:
    given = asked.query.get("api-version")
    template = asked.operation.template
    supported = ", ".join(sorted(known(template) | set(asked.operation.versions)))
    kind = "/".join(template.partition(f"/providers/{PROVIDER_NAME}/")[2].split("/")[::2])
    texts = {
        "MissingApiVersionParameter": (
            "The api-version query parameter (?api-version=) is required for all requests."
        ),
        "InvalidApiVersionParameter": (
            f"The api-version '{given}' is invalid. The supported versions are '{supported}'."
        ),
        "NoRegisteredProviderFound": (
            f"No registered resource provider found for location '{REGION}' and API version "
            f"'{given}' for type '{kind}'. The supported api-versions are '{supported}'. "
            f"The supported locations are '{REGION}'."
        ),
    }
    return ArmError(400, wrong.code, texts[wrong.code], target="query.api-version")
