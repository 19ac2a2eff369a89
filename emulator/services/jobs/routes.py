"""Jobs on ARM: submit, get, list, cancel, delete.

What is run: the catalogue's component, commands, pipelines of the workspace's command components.
"""

from dataclasses import dataclass
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from emulator.catalogue import Catalogue
from emulator.clock import Clock
from emulator.configuration import Configuration
from emulator.protocol.errors import ArmError, NotEmulated
from emulator.protocol.operations import Operations
from emulator.protocol.paging import before, scanned
from emulator.protocol.resources import WORKSPACE, body_of
from emulator.protocol.routing import Routes
from emulator.services.assets.addresses import registry_of
from emulator.services.assets.versions import Assets
from emulator.services.compute.clusters import Clusters
from emulator.services.jobs import records
from emulator.services.jobs.command_records import command_job, graph_job
from emulator.services.jobs.commands import Known
from emulator.services.jobs.graphs import is_graph
from emulator.services.jobs.records import ENDED, Jobs, Record
from emulator.services.jobs.references import check_carried
from emulator.services.jobs.refusals import NotOffered, Refused
from emulator.services.jobs.runner import Runner
from emulator.services.jobs.steps import COMPONENT
from emulator.services.jobs.submission import (
    Submission,
    component_name,
    submission,
    the_node,
    updated,
)

PATH = WORKSPACE + "/jobs/{name}"
TYPES = ("pipeline", "command")


@dataclass(frozen=True)
class JobService:
    """What the routes of jobs ask."""

    config: Configuration
    clock: Clock
    catalogue: Catalogue
    operations: Operations
    clusters: Clusters
    assets: Assets
    jobs: Jobs
    runner: Runner


def find(jobs: Jobs, request: Request) -> Record:
    """The pipeline job or step that the path names. Raises ArmError 404."""
    name = request.path_params["name"]
    record = jobs.get(name)
    if record is None:
        raise ArmError(404, "UserError", f"Job {name} was not found.")
    return record


def scope(request: Request) -> str:
    """The workspace's ARM id, as it is written everywhere."""
    names = request.path_params
    return (
        f"/subscriptions/{names['subscription']}/resourceGroups/{names['group']}"
        f"/providers/Microsoft.MachineLearningServices/workspaces/{names['workspace']}"
    )


def resource(service: JobService, record: Record) -> dict[str, Any]:
    """The job as ARM shows it."""
    config = service.config
    tracking = f"azureml://{config.api_host}/mlflow/v1.0{record['workspace']}?"
    return records.arm_job(record, f"https://{config.studio_host}", tracking)


async def put_job(service: JobService, request: Request) -> Response:
    """Accept a new job (201), or edit one that exists (200), which starts nothing."""
    body = (await body_of(request)).get("properties") or {}
    if str(body.get("jobType")).lower() not in TYPES:
        kinds = " and ".join(f"'{kind.capitalize()}'" for kind in TYPES)
        raise NotEmulated(f"Job type '{body.get('jobType')}'; this emulator runs {kinds}.")
    name = request.path_params["name"]
    record = service.jobs.get(name)
    try:
        if record is not None:
            record = updated(record, body)
            service.jobs.put(record)
            return JSONResponse(resource(service, record))
        made = _submission(service, request, body)
    except NotOffered as kind:
        raise NotEmulated(f"A job with {kind}.") from kind
    except Refused as refused:
        raise ArmError(400, "UserError", str(refused)) from refused
    for new in (*made.steps, made.job):
        service.jobs.put(new)
    await service.runner.submit(name)
    return JSONResponse(resource(service, made.job), status_code=201)


def _submission(service: JobService, request: Request, body: Record) -> Submission:
    """The records of a new job. Raises Refused or NotOffered."""
    place, name, now = scope(request), request.path_params["name"], service.clock.now()
    clusters = {cluster["name"]: cluster for cluster in service.clusters.all()}
    by_name = {name.lower(): cluster for name, cluster in clusters.items()}
    known = Known(service.assets, by_name, lambda size: bool(service.catalogue.vm_size(size)))
    if str(body["jobType"]).lower() == "command":
        return command_job(place, name, body, known, now)
    if is_graph(body):
        return graph_job(place, name, body, known, now)
    component = _component(service.catalogue, body)
    made = submission(place, name, body, component, clusters, now)
    for registry in filter(None, map(registry_of, made.job["addresses"].values())):
        check_carried(service.catalogue, registry)
    return made


async def get_job(service: JobService, request: Request) -> Response:
    return JSONResponse(resource(service, find(service.jobs, request)))


async def list_jobs(service: JobService, request: Request) -> Response:
    """The jobs without their steps, newest first."""
    jobs = (
        (place, resource(service, job))
        for place, job in service.jobs.newest(before(request))
        if _listed(request, job)
    )
    return scanned(request, jobs, ("jobType", "tag", "listViewType"))


def _listed(request: Request, job: Record) -> bool:
    if job["workspace"].lower() != scope(request).lower():
        return False
    query = request.query_params
    view = (query.get("listViewType") or "ActiveOnly").lower()
    if view != "all" and job["archived"] != (view == "archivedonly"):
        return False
    kind = records.kind(job)
    if (query.get("jobType") or kind).lower() != kind.lower():
        return False
    return _tagged(job, query.get("tag"))


def _tagged(job: Record, wanted: str | None) -> bool:
    """``tag=key`` or ``tag=key=value``, as the service takes it."""
    if not wanted:
        return True
    key, _, value = wanted.partition("=")
    return key in job["tags"] and value in ("", job["tags"][key])


async def cancel_job(service: JobService, request: Request) -> Response:
    """Ask a job to stop; the operation ends when its process is gone. An ended job stays so."""
    record = find(service.jobs, request)
    if record["parent"] is not None:
        raise NotEmulated("Cancelling one step; cancel its pipeline job.")
    if record["status"] in ENDED:
        return Response(status_code=200)
    await service.runner.cancel(record["name"])
    return service.operations.accept(request, "job.cancel", record["name"], None, 202)


async def delete_job(service: JobService, request: Request) -> Response:
    """Forget an ended job and its steps; deleting what is not there is success."""
    record = service.jobs.get(request.path_params["name"])
    if record is None or record["parent"] is not None:
        return Response(status_code=204)
    if record["status"] not in ENDED:
        raise ArmError(409, "Conflict", f"Job {record['name']} is {record['status']}: cancel it.")
    service.jobs.delete(record)
    return Response(status_code=200)


def _component(catalogue: Catalogue, body: Record) -> dict[str, Any]:
    """The specification of the component that the job's node calls. Raises Refused, NotOffered."""
    where, name, version = component_name(str(the_node(body)["componentId"]))
    check_carried(catalogue, where)
    registry = catalogue.registry(where)
    if registry is None:
        raise Refused(f"The registry '{where}' of the component was not found.")
    components = [
        component
        for component in registry.components
        if component["name"] == name and version in ("latest", str(component["version"]))
    ]
    if not components:
        raise Refused(f"Component '{name}' version '{version}' is not in the registry '{where}'.")
    if name != COMPONENT:
        raise NotOffered(f"the component '{name}'; of a registry's '{COMPONENT}' is run")
    return dict(components[0]["properties"]["componentSpec"])


ROUTES: Routes[JobService] = [
    ("GET", WORKSPACE + "/jobs", list_jobs),
    ("GET", PATH, get_job),
    ("PUT", PATH, put_job),
    ("DELETE", PATH, delete_job),
    ("POST", PATH + "/cancel", cancel_job),
]
