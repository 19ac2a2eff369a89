"""An endpoint's own host: checks the key, picks a deployment, passes the request to its process."""

import hmac

import httpx
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from emulator.protocol.resources import emulator_of
from emulator.services.serving.endpoints import deployment_key, seconds

DEFAULT_TIMEOUT_S = 5.0  # the service's, where a deployment names none


async def score(request: Request) -> Response:
    emulator = emulator_of(request)
    endpoint = emulator.serving.endpoint(str(request.url.hostname).split(".")[0])
    if endpoint is None:
        return Response("", status_code=404)
    if not _authorised(request, endpoint["name"]):
        text = "Please provide the access token or key in the Authorization header."
        return JSONResponse({"error": {"message": text}}, status_code=401)
    wanted = request.headers.get("azureml-model-deployment")
    name = wanted or emulator.serving.route(endpoint)
    if name is None:
        text = "No deployment has traffic; set the endpoint's traffic."
        return JSONResponse({"error": {"message": text}}, status_code=404)
    found = emulator.serving.deployment(endpoint["name"], name)
    if found is None:
        text = f"The deployment '{name}' does not exist."
        return JSONResponse({"error": {"message": text}}, status_code=404)
    settings = found["properties"].get("requestSettings") or {}
    timeout = seconds(settings.get("requestTimeout") or "") or DEFAULT_TIMEOUT_S
    if emulator.faults.take("scorer_crashes", "request"):
        await emulator.serving.scorers.crash(deployment_key(endpoint["name"], found["name"]))
    return await _forward(request, endpoint["name"], found["name"], timeout)


def _authorised(request: Request, endpoint: str) -> bool:
    scheme, _, given = request.headers.get("authorization", "").partition(" ")
    keys = emulator_of(request).serving.keys(endpoint).values()
    return scheme.lower() == "bearer" and any(hmac.compare_digest(given, key) for key in keys)


async def _forward(request: Request, endpoint: str, deployment: str, timeout: float) -> Response:
    scorers = emulator_of(request).serving.scorers
    port = scorers.port(deployment_key(endpoint, deployment))
    named = {"azureml-model-deployment": deployment}
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


ROUTES = [
    Route("/", score, methods=["GET"]),
    Route("/score", score, methods=["POST"]),
]
