"""Jobs on ARM: submit, get, list, cancel, delete. Only the catalogue's component is run."""

from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from emulator.protocol.errors import ArmError, NotEmulated
from emulator.protocol.resources import WORKSPACE, accepted, emulator_of, page
from emulator.services.jobs import records as job_records
from emulator.services.jobs.records import ENDED, Jobs, Record
from emulator.services.jobs.submission import (
    NotOffered,
    Refused,
    component_name,
    submission,
    the_node,
    updated,
)

PATH = WORKSPACE + "/jobs/{name}"


def jobs(request: Request) -> Jobs:
    return Jobs(emulator_of(request).store)


def find(request: Request) -> Record:
    """The pipeline job or step that the path names. Raises ArmError 404."""
    name = request.path_params["name"]
    record = jobs(request).get(name)
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


def resource(request: Request, record: Record) -> dict[str, Any]:
    """The job as ARM shows it."""
    config = emulator_of(request).config
    tracking = f"azureml://{config.api_host}/mlflow/v1.0{record['workspace']}?"
    return job_records.arm_job(record, f"https://{config.studio_host}", config.tenant_id, tracking)


async def put_job(request: Request) -> Response:
    """Accept a new job (201), or edit one that exists (200), which starts nothing."""
    emulator = emulator_of(request)
    body = (await request.json()).get("properties") or {}
    if body.get("jobType") != "Pipeline":
        raise NotEmulated(f"Job type '{body.get('jobType')}'; this emulator runs 'Pipeline'.")
    name = request.path_params["name"]
    record = jobs(request).get(name)
    try:
        if record is not None:
            record = updated(record, body)
            jobs(request).put(record)
            return JSONResponse(resource(request, record))
        made = submission(
            scope(request), name, body, _component(emulator, body), _clusters(emulator),
            emulator.clock.now(),
        )  # fmt: skip
    except NotOffered as kind:
        raise NotEmulated(f"A job with {kind}.") from kind
    except Refused as refused:
        raise ArmError(400, "UserError", str(refused)) from refused
    for new in (*made.steps, made.job):
        jobs(request).put(new)
    await emulator.runner.submit(name)
    return JSONResponse(resource(request, made.job), status_code=201)


async def get_job(request: Request) -> Response:
    return JSONResponse(resource(request, find(request)))


async def list_jobs(request: Request) -> Response:
    """Pipeline jobs, newest first."""
    found = [job for job in jobs(request).pipelines() if _listed(request, job)]
    return page(request, [resource(request, job) for job in found])


def _listed(request: Request, job: Record) -> bool:
    if job["workspace"].lower() != scope(request).lower():
        return False
    query = request.query_params
    view = query.get("listViewType") or "ActiveOnly"
    if view != "All" and job["archived"] != (view == "ArchivedOnly"):
        return False
    if query.get("jobType") not in (None, "", "Pipeline"):
        return False
    return _tagged(job, query.get("tag"))


def _tagged(job: Record, wanted: str | None) -> bool:
    """``tag=key`` or ``tag=key=value``, as the service takes it."""
    if not wanted:
        return True
    key, _, value = wanted.partition("=")
    return key in job["tags"] and value in ("", job["tags"][key])


async def cancel_job(request: Request) -> Response:
    """Ask a job to stop; the operation ends when its process is gone. An ended job stays so."""
    record = find(request)
    if record["parent"] is not None:
        raise NotEmulated("Cancelling one step; cancel its pipeline job.")
    emulator = emulator_of(request)
    if record["status"] in ENDED:
        return Response(status_code=200)
    await emulator.runner.cancel(record["name"])
    return accepted(request, emulator.operations.begin("job.cancel", record["name"]), None, 202)


async def delete_job(request: Request) -> Response:
    """Forget an ended job and its steps; deleting what is not there is success."""
    record = jobs(request).get(request.path_params["name"])
    if record is None or record["parent"] is not None:
        return Response(status_code=204)
    if record["status"] not in ENDED:
        raise ArmError(409, "Conflict", f"Job {record['name']} is {record['status']}: cancel it.")
    jobs(request).delete(record)
    return Response(status_code=200)


def _component(emulator: Any, body: Record) -> dict[str, Any]:
    """The specification of the component that the job's node calls. Raises Refused, NotOffered."""
    name, version = component_name(str(the_node(body)["componentId"]))
    found = [c for c in emulator.catalogue.components if c["name"] == name]
    exact = [c for c in found if version in ("latest", str(c["version"]))]
    if not exact:
        raise Refused(f"Component '{name}' version '{version}' is not in the registry.")
    return dict(exact[0]["properties"]["componentSpec"])


def _clusters(emulator: Any) -> dict[str, dict[str, Any]]:
    return {cluster["name"]: cluster for cluster in emulator.store.list("compute")}


ROUTES = [
    Route(WORKSPACE + "/jobs", list_jobs, methods=["GET"]),
    Route(PATH, get_job, methods=["GET"]),
    Route(PATH, put_job, methods=["PUT"]),
    Route(PATH, delete_job, methods=["DELETE"]),
    Route(PATH + "/cancel", cancel_job, methods=["POST"]),
]
