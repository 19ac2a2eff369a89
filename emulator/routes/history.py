"""Run history: what ``jobs.stream``, ``jobs.download``, ``jobs.list(parent_job_name=...)`` and
``jobs.archive`` ask besides ARM, and where log files are read."""

import hashlib
import hmac
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from emulator import job_records
from emulator.arm import WORKSPACE, emulator_of
from emulator.errors import ArmError
from emulator.job_inputs import JOB_OUTPUT
from emulator.job_records import Record
from emulator.routes.jobs import find, jobs
from emulator.runner import EXECUTION_LOG, STD_LOG
from emulator.submission import edited

HISTORY = "/history/v1.0" + WORKSPACE
RUN = HISTORY + "/runs/{name}"
LOG = RUN + "/logs/{file:path}"


async def get_run(request: Request) -> Response:
    return JSONResponse(job_records.run(find(request)))


async def get_details(request: Request) -> Response:
    """A run with signed addresses of its logs."""
    record = find(request)
    return JSONResponse(job_records.run_details(record, _log_files(request, record)))


async def get_children(request: Request) -> Response:
    """A job's steps, newest first as run history lists them."""
    steps = jobs(request).steps(find(request))
    top = int(request.query_params.get("$top") or len(steps))
    return JSONResponse(
        {"value": [job_records.run(step) for step in steps[::-1][:top]]}
    )


async def post_run_data(request: Request) -> Response:
    """Everything about one run in one answer; ``jobs.download`` reads the outputs."""
    wanted = await request.json()
    record = jobs(request).get(str(wanted.get("runId")))
    if record is None:
        raise ArmError(404, "UserError", f"Run {wanted.get('runId')} was not found.")
    return JSONResponse({"runMetadata": job_records.run(record), "runDefinition": None})


async def patch_run(request: Request) -> Response:
    """Edit display name, description, tags, properties; ``hidden`` archives."""
    record = find(request)
    changes = await request.json()
    if changes.get("hidden") is not None:
        changes["isArchived"] = changes["hidden"]
    record = edited(record, changes)
    jobs(request).put(record)
    return JSONResponse(job_records.run(record))


async def get_service_instances(request: Request) -> Response:
    find(request)
    return JSONResponse({"instances": {}})


async def get_log(request: Request) -> Response:
    """A log file, for whoever holds its signed address: it carries no token, like Azure's own."""
    record = find(request)
    file = request.path_params["file"]
    given = request.query_params.get("sig", "")
    if not hmac.compare_digest(given, _signature(request, record["name"], file)):
        raise ArmError(
            403, "AuthenticationFailed", "The signature of the log's address is wrong."
        )
    path = emulator_of(request).runner.log_path(record)
    if file != _log_name(record) or not path.exists():
        raise ArmError(404, "BlobNotFound", f"Run {record['name']} has no log {file}.")
    return Response(path.read_bytes(), media_type="text/plain; charset=utf-8")


def _log_name(record: Record) -> str:
    return STD_LOG if record["step"] else EXECUTION_LOG


def _log_files(request: Request, record: Record) -> dict[str, str]:
    emulator = emulator_of(request)
    if not emulator.runner.log_path(record).exists():
        return {}
    name = _log_name(record)
    address = f"https://{emulator.config.api_host}/history/v1.0{record['workspace']}"
    signature = _signature(request, record["name"], name)
    return {name: f"{address}/runs/{record['name']}/logs/{name}?sig={signature}"}


def _signature(request: Request, run: str, file: str) -> str:
    key = emulator_of(request).config.signing_key
    return hmac.new(key, f"{run}/{file}".encode(), hashlib.sha256).hexdigest()


async def resolve_data(request: Request) -> Response:
    """Addresses of job outputs that are files or folders, by asset id."""
    return JSONResponse({"values": await _resolved(request, "uri")})


async def resolve_models(request: Request) -> Response:
    """Addresses of job outputs that are models, by asset id."""
    return JSONResponse({"values": await _resolved(request, "path")})


async def _resolved(request: Request, field: str) -> dict[str, Any]:
    names = request.path_params
    store = (
        f"azureml://subscriptions/{names['subscription']}/resourcegroups/{names['group']}"
        f"/workspaces/{names['workspace']}/datastores/{job_records.OUTPUTS}/paths"
    )
    found = {}
    for asset in (await request.json()).get("values") or []:
        match = JOB_OUTPUT.fullmatch(asset)
        if match:
            place = f"{store}/azureml/{match['job']}/{match['output']}/"
            found[asset] = {field: place, "type": "UriFolder"}
    return found


ROUTES = [
    Route(RUN, get_run, methods=["GET"]),
    Route(RUN + "/details", get_details, methods=["GET"]),
    Route(RUN + "/children", get_children, methods=["GET"]),
    Route(RUN + "/serviceinstances/{node}", get_service_instances, methods=["GET"]),
    Route(HISTORY + "/rundata", post_run_data, methods=["POST"]),
    Route(
        HISTORY + "/experiments/{experiment}/runs/{name}", patch_run, methods=["PATCH"]
    ),
    Route(
        f"/data/v1.0{WORKSPACE}/dataversion/batchGetResolvedUris",
        resolve_data,
        methods=["POST"],
    ),
    Route(
        f"/modelregistry/v1.0{WORKSPACE}/models/batchGetResolvedUris",
        resolve_models,
        methods=["POST"],
    ),
]
# Reached without a bearer token: the address itself is signed.
SIGNED_ROUTES = [Route(LOG, get_log, methods=["GET"])]
