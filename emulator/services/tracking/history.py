"""Run history: what ``jobs.stream``, ``jobs.download``, ``jobs.list(parent_job_name=...)`` and
``jobs.archive`` ask besides ARM, and where log files are read."""

import hashlib
import hmac
from datetime import UTC, datetime
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from emulator.protocol.errors import ArmError
from emulator.protocol.resources import WORKSPACE, emulator_of
from emulator.services.jobs import records as job_records
from emulator.services.jobs.inputs import JOB_OUTPUT
from emulator.services.jobs.records import Record
from emulator.services.jobs.routes import find, jobs
from emulator.services.jobs.runner import EXECUTION_LOG, STD_LOG
from emulator.services.jobs.submission import edited
from emulator.services.storage.blobs import DATASTORES
from emulator.services.storage.signatures import signed_address

ARTIFACTS = DATASTORES[job_records.ARTIFACTS]  # the container behind the datastore
HISTORY = "/history/v1.0" + WORKSPACE
RUN = HISTORY + "/runs/{name}"
EXPERIMENT_RUN = HISTORY + "/experiments/{experiment}/runs/{name}"
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
    return JSONResponse({"value": [job_records.run(step) for step in steps[::-1][:top]]})


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
    """A log file, for whoever holds its signed address: it asks for no token, like Azure's own."""
    record = find(request)
    file = request.path_params["file"]
    given = request.query_params.get("sig", "")
    if not hmac.compare_digest(given, _signature(request, record["name"], file)):
        raise ArmError(403, "AuthenticationFailed", "The signature of the log's address is wrong.")
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


async def list_artifacts(request: Request) -> Response:
    """A run's files in the artifact store: its log, and what MLflow clients put beside it.

    The run may be one that an MLflow client made: no job, but a folder like any other.
    """
    run = request.path_params["name"]
    return JSONResponse({"value": [_artifact(run, path) for path in _artifact_paths(request, run)]})


async def get_artifact_address(request: Request) -> Response:
    """Where one of the run's files can be read for the next hour."""
    run, path = request.path_params["name"], request.query_params.get("path", "")
    if path not in _artifact_paths(request, run):
        raise ArmError(404, "UserError", f"Run {run} has no artifact {path}.")
    return JSONResponse(_content(request, run, path, "r"))


async def post_artifacts(request: Request) -> Response:
    """Make room for files of the run; the client writes them to the addresses it gets."""
    run = request.path_params["name"]
    paths = [str(one["path"]) for one in (await request.json()).get("paths") or []]
    addresses = {path: _content(request, run, path, "rcw") for path in paths}
    return JSONResponse(
        {
            "artifacts": {path: _artifact(run, path) for path in paths},
            "artifactContentInformation": addresses,
            "errors": {},
        }
    )


def _artifact_paths(request: Request, run: str) -> list[str]:
    folder = job_records.artifact_folder(run) + "/"
    names = emulator_of(request).storage.names(ARTIFACTS, folder)
    return [name.removeprefix(folder) for name in names]


def _artifact(run: str, path: str) -> dict[str, Any]:
    container = f"dcid.{run}"
    return {
        "artifactId": f"ExperimentRun/{container}/{path}",
        "origin": "ExperimentRun",
        "container": container,
        "path": path,
    }


def _content(request: Request, run: str, path: str, permissions: str) -> dict[str, Any]:
    config = emulator_of(request).config
    until = datetime.fromtimestamp(emulator_of(request).clock.now() + 3600, UTC)
    address = signed_address(
        config.blob_host,
        config.account,
        config.identity.storage_key,
        f"{ARTIFACTS}/{job_records.artifact_folder(run)}/{path}",
        permissions,
        until.strftime("%Y-%m-%dT%H:%M:%SZ"),
    )
    return {**_artifact(run, path), "contentUri": address}


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
    Route(LOG, get_log, methods=["GET"]),
    Route(EXPERIMENT_RUN, patch_run, methods=["PATCH"]),
    Route(EXPERIMENT_RUN + "/artifacts", list_artifacts, methods=["GET"]),
    Route(EXPERIMENT_RUN + "/artifacts/contentinfo", get_artifact_address, methods=["GET"]),
    Route(EXPERIMENT_RUN + "/artifacts/batch/metadata", post_artifacts, methods=["POST"]),
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
