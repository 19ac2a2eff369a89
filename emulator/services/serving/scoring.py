"""An endpoint's own host: checks the key, picks a deployment, passes the request to its process."""

import asyncio
import hmac
from dataclasses import dataclass, field
from typing import Any

import httpx
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from emulator.faults import Faults
from emulator.protocol.resources import duration
from emulator.protocol.routing import Routes
from emulator.services.serving.endpoints import Serving, deployment_key
from emulator.services.serving.scorers import Scorers

DEFAULT_TIMEOUT_S = 5.0  # the service's, where a deployment names none


@dataclass(frozen=True)
class ScoringService:
    """What an endpoint's own host asks."""

    serving: Serving
    faults: Faults
    shadows: set[asyncio.Task[Response]] = field(default_factory=set)


async def score(service: ScoringService, request: Request) -> Response:
    endpoint = service.serving.endpoint(str(request.url.hostname).split(".")[0])
    if endpoint is None:
        return Response("", status_code=404)
    if not _authorised(service.serving, request, endpoint["name"]):
        text = "Please provide the access token or key in the Authorization header."
        return JSONResponse({"error": {"message": text}}, status_code=401)
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


def _authorised(serving: Serving, request: Request, endpoint: str) -> bool:
    scheme, _, given = request.headers.get("authorization", "").partition(" ")
    keys = serving.keys(endpoint).values()
    return scheme.lower() == "bearer" and any(hmac.compare_digest(given, key) for key in keys)


async def _forward(
    scorers: Scorers, request: Request, deployment: dict[str, Any], timeout: float
) -> Response:
    port = scorers.port(deployment_key(deployment["endpoint"], deployment["name"]))
    named = {"azureml-model-deployment": deployment["name"]}
    if port is None:
        return Response("no healthy upstream", status_code=503, headers=named)
    url = f"http://127.0.0.1:{port}{request.url.path}"
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
    return Response(answer.content, answer.status_code, named, kind)


ROUTES: Routes[ScoringService] = [
    ("GET", "/", score),
    ("POST", "/score", score),
]
