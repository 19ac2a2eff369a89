"""What Azure does not have: what is running, which requests came in, faults on purpose."""

import asyncio
from dataclasses import dataclass
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from emulator.configuration import Configuration
from emulator.faults import BadFault, Fault, Faults, Journal
from emulator.processes.children import Processes
from emulator.protocol.errors import ArmError
from emulator.protocol.resources import state
from emulator.protocol.routing import Routes
from emulator.protocol.verification import Verification
from emulator.services.assets.versions import Assets
from emulator.services.compute.clusters import Clusters
from emulator.services.jobs.records import Jobs
from emulator.services.serving.endpoints import Serving


@dataclass(frozen=True)
class Admin:
    """What the admin routes ask."""

    config: Configuration
    clusters: Clusters
    jobs: Jobs
    assets: Assets
    serving: Serving
    processes: Processes
    journal: Journal
    faults: Faults
    verification: Verification


async def get_summary(admin: Admin, request: Request) -> Response:
    """Endpoints, deployments, jobs and processes that are there now; jobs started ever."""
    jobs = admin.jobs.all()
    return JSONResponse(
        {
            "workspace": admin.config.identity.workspace,
            "weights": admin.config.weights,
            "endpoints": [_named(body) for body in admin.serving.endpoints()],
            "deployments": [_named(body) for body in admin.serving.deployments()],
            "computes": [_named(body) for body in admin.clusters.all()],
            "jobs": [{"name": job["name"], "status": job["status"]} for job in jobs],
            "jobs_started": len(jobs),
            "models": [body["id"] for body in admin.assets.all("models")],
            "data": [body["id"] for body in admin.assets.all("data")],
            "processes": admin.processes.alive(),
        }
    )


def _named(body: dict[str, Any]) -> dict[str, str]:
    return {"name": body["name"], "state": state(body)}


async def get_requests(admin: Admin, request: Request) -> Response:
    after = int(request.query_params.get("after") or 0)
    return JSONResponse({"requests": admin.journal.after(after)})


async def get_verification(admin: Admin, request: Request) -> Response:
    """Answers against their descriptions, since the start: counts by operation, violations."""
    seen = admin.verification
    return JSONResponse({"checked": seen.checked, "violations": seen.violations})


async def post_fault(admin: Admin, request: Request) -> Response:
    try:
        fault = admin.faults.add(await request.json())
    except BadFault as error:
        raise ArmError(400, "BadFault", str(error)) from error
    return JSONResponse(fault.shown(), status_code=201)


async def list_faults(admin: Admin, request: Request) -> Response:
    return JSONResponse({"faults": [fault.shown() for fault in admin.faults.all()]})


async def delete_faults(admin: Admin, request: Request) -> Response:
    admin.faults.clear()
    return Response(status_code=204)


def _fault(admin: Admin, request: Request) -> Fault:
    fault = admin.faults.get(request.path_params["id"])
    if fault is None:
        raise ArmError(404, "NotFound", f"There is no fault {request.path_params['id']}.")
    return fault


async def get_fault(admin: Admin, request: Request) -> Response:
    """The fault; with ``wait``, after it has hit a request or so many seconds have passed."""
    fault = _fault(admin, request)
    wait = float(request.query_params.get("wait") or 0)
    if wait:
        try:
            await asyncio.wait_for(fault.hit.wait(), wait)
        except TimeoutError:
            pass  # the answer says that it was not hit
    return JSONResponse(fault.shown())


async def release_fault(admin: Admin, request: Request) -> Response:
    """Let go of the request that the fault holds; with ``drop`` it never reaches the admin."""
    fault = _fault(admin, request)
    fault.drop = request.query_params.get("drop", "").lower() in ("1", "true")
    fault.released.set()
    return JSONResponse(fault.shown())


ROUTES: Routes[Admin] = [
    ("GET", "/_emulator/summary", get_summary),
    ("GET", "/_emulator/requests", get_requests),
    ("GET", "/_emulator/verification", get_verification),
    ("POST", "/_emulator/faults", post_fault),
    ("GET", "/_emulator/faults", list_faults),
    ("DELETE", "/_emulator/faults", delete_faults),
    ("GET", "/_emulator/faults/{id:int}", get_fault),
    ("POST", "/_emulator/faults/{id:int}/release", release_fault),
]
