"""An endpoint's own host: checks who asks, picks a deployment, passes the request on to it."""

import asyncio
from dataclasses import dataclass, field
from typing import Any

import httpx
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from emulator.clock import Clock
from emulator.configuration import Configuration
from emulator.faults import Faults
from emulator.protocol.errors import ArmError
from emulator.protocol.resources import duration
from emulator.protocol.routing import Routes
from emulator.services.serving import credentials
from emulator.services.serving.endpoints import Serving, deployment_key
from emulator.services.serving.scorers import Scorers

DEFAULT_TIMEOUT_S = 5.0  # the service's, where a deployment names none
MODEL_ERROR = 424


@dataclass(frozen=True)
class ScoringService:
    """What an endpoint's own host asks."""

    config: Configuration
    clock: Clock
    serving: Serving
    faults: Faults
    shadows: set[asyncio.Task[Response]] = field(default_factory=set)


async def score(service: ScoringService, request: Request) -> Response:
    endpoint = service.serving.endpoint(str(request.url.hostname).split(".")[0])
    if endpoint is None:
        return Response("", status_code=404)
    try:
        header = request.headers.get("authorization", "")
        credentials.check(service.serving, service.config, service.clock.now(), endpoint, header)
    except ArmError as error:
        return JSONResponse({"error": {"message": error.message}}, status_code=error.status)
    wanted = request.headers.get("azureml-model-deployment")
    name = wanted or service.serving.route(endpoint)
    if name is None:
        text = "No deployment has traffic; set the endpoint's traffic."
        return JSONResponse({"error": {"message": text}}, status_code=404)
    deployment = service.serving.deployment(endpoint["name"], name)
    if deployment is None:
        text = f"The deployment '{name}' does not exist."
        return JSONResponse({"error": {"message": text}}, status_code=404)
    if wanted is None:
        await _mirror(service, request, endpoint)
    return await _answer(service, request, deployment)


async def _mirror(service: ScoringService, request: Request, endpoint: dict[str, Any]) -> None:
    """Send a copy of a request that names no deployment to the one that is mirrored to, maybe.

    Nobody waits for its answer, and nobody sees it.
    """
    name = service.serving.mirror(endpoint)
    shadow = service.serving.deployment(endpoint["name"], name) if name else None
    if shadow is None:
        return
    await request.body()  # kept by the request: the copy may be sent after the answer
    copy = asyncio.create_task(_answer(service, request, shadow), name=f"mirror to {name}")
    service.shadows.add(copy)
    copy.add_done_callback(service.shadows.discard)


async def _answer(
    service: ScoringService, request: Request, deployment: dict[str, Any]
) -> Response:
    settings = deployment["properties"].get("requestSettings") or {}
    timeout = duration(settings.get("requestTimeout") or "") or DEFAULT_TIMEOUT_S
    scorers, take = service.serving.scorers, service.faults.take
    name = deployment["name"]
    if take("scorer_crashes", "request") or take("scorer_crashes", f"request:{name}"):
        await scorers.crash(deployment_key(deployment["endpoint"], name))
    return await _forward(scorers, request, deployment, timeout)


async def _forward(
    scorers: Scorers, request: Request, deployment: dict[str, Any], timeout: float
) -> Response:
    port = scorers.port(deployment_key(deployment["endpoint"], deployment["name"]))
    named = {"azureml-model-deployment": deployment["name"]}
    if port is None:
        return Response("no healthy upstream", status_code=503, headers=named)
    query = f"?{request.url.query}" if request.url.query else ""
    url = f"http://127.0.0.1:{port}{request.url.path}{query}"
    try:
        answer = await scorers.http.request(
            request.method,
            url,
            content=await request.body(),
            headers={"Content-Type": request.headers.get("content-type", "application/json")},
            timeout=timeout,
        )
    except httpx.TimeoutException:
        return Response("upstream request timeout", status_code=408, headers=named)
    except httpx.HTTPError:
        return Response("upstream connect error", status_code=502, headers=named)
    kind = answer.headers.get("content-type", "application/json")
    if answer.status_code != 200:
        named |= _model_error(answer.status_code)
        return Response(answer.content, MODEL_ERROR, named, kind)
    return Response(answer.content, 200, named, kind)


def _model_error(status: int) -> dict[str, str]:
    """What Azure says where a container answers anything but 200.

    MicrosoftDocs/azure-ai-docs: how-to-troubleshoot-online-endpoints.md, HTTP status codes.
    """
    return {
        "ms-azureml-model-error-reason": "model_error",
        "ms-azureml-model-error-statuscode": str(status),
    }


ROUTES: Routes[ScoringService] = [
    ("GET", "/", score),
    ("POST", "/score", score),
    ("GET", "/swagger.json", score),
]
