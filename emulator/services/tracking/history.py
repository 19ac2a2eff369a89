"""Run history: what ``jobs.stream``, ``jobs.download``, ``jobs.list(parent_job_name=...)`` and
``jobs.archive`` ask besides ARM, and where log files are read."""

import base64
import hashlib
import hmac
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from emulator.clock import Clock
from emulator.configuration import Configuration
from emulator.protocol.errors import ArmError
from emulator.protocol.resources import WORKSPACE
from emulator.protocol.routing import Routes
from emulator.services.assets.addresses import JOB_OUTPUT
from emulator.services.jobs import records
from emulator.services.jobs.records import Jobs, Record
from emulator.services.jobs.routes import find
from emulator.services.jobs.runs import Runs, log_name
from emulator.services.jobs.submission import edited
from emulator.services.storage.blobs import DATASTORES, Storage
from emulator.services.storage.signatures import signed_address

ARTIFACTS = DATASTORES[records.ARTIFACTS]  # the container behind the datastore
HISTORY = "/history/v1.0" + WORKSPACE
RUN = HISTORY + "/runs/{name}"
EXPERIMENT_RUN = HISTORY + "/experiments/{experiment}/runs/{name}"
LOG = RUN + "/logs/{file:path}"


@dataclass(frozen=True)
class HistoryService:
    """What run history's routes ask."""

    config: Configuration
    clock: Clock
    jobs: Jobs
    runs: Runs
    storage: Storage


async def get_run(service: HistoryService, request: Request) -> Response:
    return JSONResponse(records.run(find(service.jobs, request)))


async def get_details(service: HistoryService, request: Request) -> Response:
    """A run with signed addresses of its logs."""
    record = find(service.jobs, request)
    return JSONResponse(records.run_details(record, _log_files(service, record)))


async def get_children(service: HistoryService, request: Request) -> Response:
    """A job's steps, newest first as run history lists them; a page and the token of the next."""
    steps = service.jobs.steps(find(service.jobs, request))[::-1]
    start = _continued(request)
    top = int(request.query_params.get("$top") or service.config.history_page)
    body: dict[str, Any] = {"value": [records.run(step) for step in steps[start : start + top]]}
    if start + top < len(steps) and "$top" not in request.query_params:
        token = base64.urlsafe_b64encode(str(start + top).encode()).decode()
        body["continuationToken"] = token
        body["nextLink"] = str(request.url.include_query_params(**{"$continuationtoken": token}))
    return JSONResponse(body)


def _continued(request: Request) -> int:
    """Where a listing goes on. Raises ArmError 400."""
    token = request.query_params.get("$continuationtoken")
    try:
        return int(base64.urlsafe_b64decode(token)) if token else 0
    except ValueError as error:
        raise ArmError(400, "UserError", f"The continuation token '{token}' is wrong.") from error


async def post_run_data(service: HistoryService, request: Request) -> Response:
    """Everything about one run in one answer; ``jobs.download`` reads the outputs."""
    wanted = await request.json()
    record = service.jobs.get(str(wanted.get("runId")))
    if record is None:
        raise ArmError(404, "UserError", f"Run {wanted.get('runId')} was not found.")
    return JSONResponse({"runMetadata": records.run(record), "runDefinition": None})


async def patch_run(service: HistoryService, request: Request) -> Response:
    """Edit display name, description, tags, properties; ``hidden`` archives."""
    record = find(service.jobs, request)
    changes = await request.json()
    if changes.get("hidden") is not None:
        changes["isArchived"] = changes["hidden"]
    record = edited(record, changes)
    service.jobs.put(record)
    return JSONResponse(records.run(record))


async def get_service_instances(service: HistoryService, request: Request) -> Response:
    find(service.jobs, request)
    return JSONResponse({"instances": {}})


async def get_log(service: HistoryService, request: Request) -> Response:
    """A log file, for whoever holds its signed address: it asks for no token, like Azure's own."""
    record = find(service.jobs, request)
    file = request.path_params["file"]
    given = request.query_params.get("sig", "")
    if not hmac.compare_digest(given, _signature(service.config, record["name"], file)):
        raise ArmError(403, "AuthenticationFailed", "The signature of the log's address is wrong.")
    path = service.runs.log_path(record)
    if file != log_name(record) or not path.exists():
        raise ArmError(404, "BlobNotFound", f"Run {record['name']} has no log {file}.")
    return Response(path.read_bytes(), media_type="text/plain; charset=utf-8")


def _log_files(service: HistoryService, record: Record) -> dict[str, str]:
    if not service.runs.log_path(record).exists():
        return {}
    name = log_name(record)
    address = f"https://{service.config.api_host}/history/v1.0{record['workspace']}"
    signature = _signature(service.config, record["name"], name)
    return {name: f"{address}/runs/{record['name']}/logs/{name}?sig={signature}"}


def _signature(config: Configuration, run: str, file: str) -> str:
    return hmac.new(config.signing_key, f"{run}/{file}".encode(), hashlib.sha256).hexdigest()


async def list_artifacts(service: HistoryService, request: Request) -> Response:
    """A run's files in the artifact store: its log, and what MLflow clients put beside it.

    The run may be one that an MLflow client made: no job, but a folder like any other.
    """
    run = request.path_params["name"]
    return JSONResponse({"value": [_artifact(run, path) for path in _artifact_paths(service, run)]})


async def get_artifact_address(service: HistoryService, request: Request) -> Response:
    """Where one of the run's files can be read for the next hour."""
    run, path = request.path_params["name"], request.query_params.get("path", "")
    if path not in _artifact_paths(service, run):
        raise ArmError(404, "UserError", f"Run {run} has no artifact {path}.")
    return JSONResponse(_content(service, run, path, "r"))


async def post_artifacts(service: HistoryService, request: Request) -> Response:
    """Make room for files of the run; the client writes them to the addresses it gets."""
    run = request.path_params["name"]
    paths = [str(file["path"]) for file in (await request.json()).get("paths") or []]
    addresses = {path: _content(service, run, path, "rcw") for path in paths}
    return JSONResponse(
        {
            "artifacts": {path: _artifact(run, path) for path in paths},
            "artifactContentInformation": addresses,
            "errors": {},
        }
    )


def _artifact_paths(service: HistoryService, run: str) -> list[str]:
    folder = records.artifact_folder(run) + "/"
    names = service.storage.names(ARTIFACTS, folder)
    return [name.removeprefix(folder) for name in names]


def _artifact(run: str, path: str) -> dict[str, Any]:
    container = f"dcid.{run}"
    return {
        "artifactId": f"ExperimentRun/{container}/{path}",
        "origin": "ExperimentRun",
        "container": container,
        "path": path,
    }


def _content(service: HistoryService, run: str, path: str, permissions: str) -> dict[str, Any]:
    config = service.config
    until = datetime.fromtimestamp(service.clock.now() + 3600, UTC)
    address = signed_address(
        config.blob_host,
        config.account,
        config.identity.storage_key,
        f"{ARTIFACTS}/{records.artifact_folder(run)}/{path}",
        permissions,
        until.strftime("%Y-%m-%dT%H:%M:%SZ"),
    )
    return {**_artifact(run, path), "contentUri": address}


async def resolve_data(service: HistoryService, request: Request) -> Response:
    """Addresses of job outputs that are files or folders, by asset id."""
    return JSONResponse({"values": await _resolved(service, request, "uri")})


async def resolve_models(service: HistoryService, request: Request) -> Response:
    """Addresses of job outputs that are models, by asset id."""
    return JSONResponse({"values": await _resolved(service, request, "path")})


async def _resolved(service: HistoryService, request: Request, field: str) -> dict[str, Any]:
    names = request.path_params
    workspace = (
        f"azureml://subscriptions/{names['subscription']}/resourcegroups/{names['group']}"
        f"/workspaces/{names['workspace']}/"
    )
    addresses = {}
    for asset in (await request.json()).get("values") or []:
        match = JOB_OUTPUT.fullmatch(asset)
        if match:
            place = service.jobs.output(match["job"], match["output"])
            place = place or records.output_uri(match["job"], match["output"])
            kind = "UriFolder" if place.endswith("/") else "UriFile"
            addresses[asset] = {field: place.replace("azureml://", workspace, 1), "type": kind}
    return addresses


ROUTES: Routes[HistoryService] = [
    ("GET", RUN, get_run),
    ("GET", RUN + "/details", get_details),
    ("GET", RUN + "/children", get_children),
    ("GET", RUN + "/serviceinstances/{node}", get_service_instances),
    ("POST", HISTORY + "/rundata", post_run_data),
    ("GET", LOG, get_log),
    ("PATCH", EXPERIMENT_RUN, patch_run),
    ("GET", EXPERIMENT_RUN + "/artifacts", list_artifacts),
    ("GET", EXPERIMENT_RUN + "/artifacts/contentinfo", get_artifact_address),
    ("POST", EXPERIMENT_RUN + "/artifacts/batch/metadata", post_artifacts),
    ("POST", f"/data/v1.0{WORKSPACE}/dataversion/batchGetResolvedUris", resolve_data),
    ("POST", f"/modelregistry/v1.0{WORKSPACE}/models/batchGetResolvedUris", resolve_models),
]
