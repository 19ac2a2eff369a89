"""MLflow tracking behind Azure's paths: the request goes on to the real server, ids translated."""

import json
from dataclasses import dataclass
from typing import Any

import httpx
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from emulator.protocol.errors import ArmError
from emulator.protocol.resources import WORKSPACE
from emulator.protocol.routing import Routes
from emulator.services.tracking.registered_models import RegisteredModels
from emulator.services.tracking.server import TrackingServer, TrackingUnavailable


@dataclass(frozen=True)
class MlflowService:
    """What MLflow's routes ask: its server about runs, the workspace about models."""

    tracking: TrackingServer
    models: RegisteredModels


async def forward(service: MlflowService, request: Request) -> Response:
    """Ask MLflow and answer what it answers, errors and all; models are the workspace's."""
    call, body = request.path_params["call"], await _body(request)
    query = list(request.query_params.multi_items())
    prefix = request.url.path.removesuffix(f"/api/2.0/mlflow/{call}")
    place = f"azureml://{request.url.hostname}{prefix}"
    artifacts = place + "/experiments/{experiment}/runs/{run}/artifacts"
    if service.models.answers(call):
        given = {**dict(query), **(body if isinstance(body, dict) else {})}
        status, answer = service.models.ask(request.method, call, given, artifacts)
        return JSONResponse(answer, status_code=status)
    try:
        status, answer = await service.tracking.ask(
            request.method,
            f"api/2.0/mlflow/{call}",
            query=query,
            body=body,
            artifacts=artifacts,
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


ROUTES: Routes[MlflowService] = [
    ("GET POST PATCH DELETE", f"/mlflow/{version}{WORKSPACE}/api/2.0/mlflow/{{call:path}}", forward)
    for version in ("v1.0", "v2.0")
]
