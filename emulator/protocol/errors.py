"""Errors as Azure Resource Manager writes them."""

from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response


class ArmError(Exception):
    """An error the service answers on purpose; ``body`` is what ARM would send."""

    def __init__(
        self, status: int, code: str, message: str, headers: dict[str, str] | None = None
    ) -> None:
        super().__init__(status, code, message, headers)
        self.status = status
        self.code = code
        self.message = message
        self.headers = headers or {}

    def __str__(self) -> str:
        return f"{self.status} {self.code}: {self.message}"

    def body(self) -> dict[str, Any]:
        return {"error": {"code": self.code, "message": self.message}}


class NotEmulated(ArmError):
    """Something that Azure has and this emulator has not: said, never faked."""

    def __init__(self, what: str) -> None:
        super().__init__(501, "NotEmulated", f"Not emulated: {what}")
        self.args = (what,)


def not_found(kind: str, name: str) -> ArmError:
    """A resource that is not there, in ARM's words."""
    return ArmError(
        404,
        "ResourceNotFound",
        f"The Resource 'Microsoft.MachineLearningServices/{kind}/{name}' was not found.",
    )


async def arm_error(request: Request, error: Exception) -> Response:
    """Answer an ArmError."""
    assert isinstance(error, ArmError)
    return JSONResponse(error.body(), status_code=error.status, headers=error.headers)
