"""MLflow tracking behind Azure's paths: the request goes on to the real server, ids translated."""

import json
from typing import Any

import httpx
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from emulator.protocol.errors import ArmError
from emulator.protocol.resources import WORKSPACE
from emulator.protocol.routing import Routes
from emulator.services.tracking.server import TrackingServer, TrackingUnavailable


async def forward(tracking: TrackingServer, request: Request) -> Response:
    """Ask MLflow and answer what it answers, errors and all."""
    names = request.path_params
    prefix = request.url.path.removesuffix(f"/api/2.0/mlflow/{names['call']}")
    try:
        status, answer = await tracking.ask(
            request.method,
            f"api/2.0/mlflow/{names['call']}",
            query=list(request.query_params.multi_items()),
            body=await _body(request),
            artifacts=f"azureml://{request.url.hostname}{prefix}"
            "/experiments/{experiment}/runs/{run}/artifacts",
        )
    except (TrackingUnavailable, httpx.TransportError) as problem:
        raise ArmError(503, "ServiceUnavailable", str(problem)) from problem
    return JSONResponse(answer, status_code=status)


async def _body(request: Request) -> Any:
    content = await request.body()
    if not content:
        return None
    try:
        return json.loads(content)
    except ValueError as problem:
        raise ArmError(400, "BadRequest", f"The body is not JSON: {problem}.") from problem


ROUTES: Routes[TrackingServer] = [
    ("GET POST PATCH DELETE", f"/mlflow/{version}{WORKSPACE}/api/2.0/mlflow/{{call:path}}", forward)
    for version in ("v1.0", "v2.0")
]
