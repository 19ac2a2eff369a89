"""What Azure does not have: what is running, which requests came in, faults on purpose."""

import asyncio
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from emulator.faults import BadFault, Fault
from emulator.protocol.errors import ArmError
from emulator.protocol.resources import emulator_of
from emulator.services.jobs.records import Jobs
from emulator.services.serving.endpoints import state


async def get_summary(request: Request) -> Response:
    """Endpoints, deployments, jobs and processes that are there now; jobs started ever."""
    emulator = emulator_of(request)
    jobs = Jobs(emulator.store).pipelines()
    return JSONResponse(
        {
            "workspace": emulator.config.identity.workspace,
            "weights": emulator.config.weights,
            "endpoints": [_named(one) for one in emulator.serving.endpoints()],
            "deployments": [_named(one) for one in emulator.serving.deployments()],
            "computes": [_named(one) for one in emulator.store.list("compute")],
            "jobs": [{"name": job["name"], "status": job["status"]} for job in jobs],
            "jobs_started": len(jobs),
            "models": [one["id"] for one in emulator.assets.all("models")],
            "data": [one["id"] for one in emulator.assets.all("data")],
            "processes": emulator.processes.alive(),
        }
    )


def _named(body: dict[str, Any]) -> dict[str, str]:
    return {"name": body["name"], "state": state(body)}


async def get_requests(request: Request) -> Response:
    after = int(request.query_params.get("after") or 0)
    return JSONResponse({"requests": emulator_of(request).journal.after(after)})


async def post_fault(request: Request) -> Response:
    try:
        fault = emulator_of(request).faults.add(await request.json())
    except BadFault as error:
        raise ArmError(400, "BadFault", str(error)) from error
    return JSONResponse(fault.shown(), status_code=201)


async def list_faults(request: Request) -> Response:
    return JSONResponse({"faults": [one.shown() for one in emulator_of(request).faults.all()]})


async def delete_faults(request: Request) -> Response:
    emulator_of(request).faults.clear()
    return Response(status_code=204)


def _fault(request: Request) -> Fault:
    fault = emulator_of(request).faults.get(request.path_params["id"])
    if fault is None:
        raise ArmError(404, "NotFound", f"There is no fault {request.path_params['id']}.")
    return fault


async def get_fault(request: Request) -> Response:
    """The fault; with ``wait``, after it has hit a request or so many seconds have passed."""
    fault = _fault(request)
    wait = float(request.query_params.get("wait") or 0)
    if wait:
        try:
            await asyncio.wait_for(fault.hit.wait(), wait)
        except TimeoutError:
            pass  # the answer says that it was not hit
    return JSONResponse(fault.shown())


async def release_fault(request: Request) -> Response:
    """Let go of the request that the fault holds; with ``drop`` it never reaches the service."""
    fault = _fault(request)
    fault.drop = request.query_params.get("drop", "").lower() in ("1", "true")
    fault.released.set()
    return JSONResponse(fault.shown())


ROUTES = [
    Route("/_emulator/summary", get_summary, methods=["GET"]),
    Route("/_emulator/requests", get_requests, methods=["GET"]),
    Route("/_emulator/faults", post_fault, methods=["POST"]),
    Route("/_emulator/faults", list_faults, methods=["GET"]),
    Route("/_emulator/faults", delete_faults, methods=["DELETE"]),
    Route("/_emulator/faults/{id:int}", get_fault, methods=["GET"]),
    Route("/_emulator/faults/{id:int}/release", release_fault, methods=["POST"]),
]
