"""What the emulator keeps about a job, and the two shapes in which Azure shows it.

A record is plain data. A job is a record (kind ``job`` in the store, key = its name); each step of
a pipeline job is one more (kind ``job_step``), with ``parent`` set. What runs a command of the
user's, job or step, has it as ``command`` (see ``commands``). ARM shows the first
(``arm_job``), run history shows both (``run``, ``run_details``). Times are unix seconds.
"""

import json
import uuid
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from emulator.store import Store

Record = dict[str, Any]

ENDED = ("Completed", "Failed", "Canceled")
ARTIFACTS = "workspaceartifactstore"
OUTPUTS = "workspaceblobstore"

# What may still be changed on a job that exists; everything else is fixed by its first submission.
MUTABLE = ("displayName", "description", "tags", "properties", "isArchived")


class Jobs:
    """The records of all jobs and steps, by name."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def get(self, name: str) -> Record | None:
        return self._store.get("job", name) or self._store.get("job_step", name)

    def put(self, record: Record) -> None:
        self._store.put("job_step" if record["parent"] else "job", record["name"], record)

    def output(self, name: str, output: str) -> str | None:
        """Where a job's or step's named output is; None while it has none."""
        record = self.get(name)
        return record["outputs"].get(output) if record else None

    def delete(self, job: Record) -> None:
        """Forget a job and its steps."""
        self._store.delete("job", job["name"])
        for step in job["children"]:
            self._store.delete("job_step", step)

    def all(self) -> list[Record]:
        """The jobs, without their steps, newest first."""
        return self._store.list("job")

    def newest(self, before: int) -> Iterator[tuple[int, Record]]:
        """The jobs that come before a place, newest first, read as they are wanted."""
        return self._store.scan("job", before)

    def everything(self) -> list[Record]:
        return [*self._store.list("job"), *self._store.list("job_step")]

    def steps(self, job: Record) -> list[Record]:
        """A pipeline job's steps in their order; a step or a command has none."""
        steps = [self._store.get("job_step", name) for name in job.get("children", [])]
        return [step for step in steps if step is not None]


def experiment_id(workspace: str, name: str) -> str:
    """Azure's experiment ids are GUIDs; ours follow from the name."""
    return str(uuid.uuid5(uuid.NAMESPACE_URL, f"{workspace}/experiments/{name}"))


def kind(record: Record) -> str:
    """The type of job that ARM shows."""
    return "Command" if record.get("command") else "Pipeline"


def runs_a_program(record: Record) -> bool:
    """Whether the record is a step or a command: its log is what a program printed."""
    return bool(record["step"] or record.get("command"))


def pipeline_record(workspace: str, name: str, body: Record, now: float) -> Record:
    """A new pipeline job from the properties that were PUT."""
    settings = body.get("settings") or {}
    experiment = body.get("experimentName") or "Default"
    own = {
        "azureml.runsource": "azureml.PipelineRun",
        "runSource": "MFE",
        "azureml.continue_on_step_failure": str(bool(settings.get("continue_on_step_failure"))),
        "azureml.enforceRerun": str(bool(settings.get("force_rerun"))),
        "azureml.pipelineComponent": "pipelinerun",
    }
    return {
        "name": name,
        "workspace": workspace,
        "root": name,
        "parent": None,
        "order": 0,
        "step": None,
        "run_type": "azureml.PipelineRun",
        "experiment": experiment,
        "experiment_id": experiment_id(workspace, experiment),
        "display_name": body.get("displayName") or name,
        "description": body.get("description"),
        "tags": body.get("tags") or {},
        "properties": {**own, **(body.get("properties") or {})},
        "archived": bool(body.get("isArchived")),
        "status": "NotStarted",
        "created": now,
        "started": None,
        "ended": None,
        "compute": None,
        "error": None,
        "outputs": {},
        "body": body,
    }


def step_record(parent: Record, step: str, order: int, compute: str, now: float) -> Record:
    """A new child job for one step; its id follows from the parent's name."""
    own = {
        "azureml.runsource": "azureml.StepRun",
        "azureml.moduleName": step,
        "azureml.nodeid": uuid.uuid5(uuid.NAMESPACE_URL, step).hex[:8],
        "azureml.pipelinerunid": parent["name"],
        "azureml.pipeline": parent["name"],
        "azureml.rootpipelinerunid": parent["root"],
        "azureml.isreused": "false",
        "ContentSnapshotId": str(uuid.uuid5(uuid.NAMESPACE_URL, f"code/{step}")),
    }
    return {
        **parent,
        "name": str(
            uuid.uuid5(uuid.NAMESPACE_URL, f"{parent['workspace']}/{parent['name']}/{step}")
        ),
        "parent": parent["name"],
        "order": order,
        "step": step,
        "run_type": "azureml.StepRun",
        "display_name": step,
        "description": None,
        "tags": {},
        "properties": own,
        "archived": False,
        "status": "NotStarted",
        "created": now,
        "started": None,
        "ended": None,
        "compute": compute,
        "error": None,
        "outputs": {},
        "body": {},
    }


def changed_fields(record: Record, body: Record) -> list[str]:
    """Which fixed fields of an existing job a second PUT would change."""
    fixed = (
        "experimentName", "jobs", "inputs", "outputs", "settings", "computeId", "componentId",
        "command", "codeId", "environmentId", "environmentVariables", "resources", "limits",
        "distribution",
    )  # fmt: skip
    before = record["body"]
    return [name for name in fixed if _plain(before.get(name)) != _plain(body.get(name))]


def _plain(value: Any) -> Any:
    """A value without the entries that mean nothing, so that an echo of a job equals the job."""
    if isinstance(value, dict):
        kept = {key: _plain(inner) for key, inner in value.items()}
        return {key: inner for key, inner in kept.items() if inner not in (None, {}, [])} or None
    return value


def artifact_folder(name: str) -> str:
    """Where a run's logs are in the artifact store, relative to the datastore."""
    return f"ExperimentRun/dcid.{name}"


def step_folder(jobs: Path, record: Record) -> Path:
    """The working folder of a step or a command below the folder of all jobs."""
    return jobs / str(record["root"]) / str(record["step"] or "command")


def metrics_file(jobs: Path, record: Record) -> Path:
    """Where a step's program writes its metrics, one JSON object a line."""
    return step_folder(jobs, record) / "metrics.jsonl"


def last_step(metrics: Path) -> int:
    """The newest step in a metrics file; 0 before there is one."""
    try:
        whole = metrics.read_text(encoding="utf-8").rpartition("\n")[0]
        return int(json.loads(whole.rpartition("\n")[2])["step"])
    except (OSError, ValueError, KeyError):
        return 0


def output_uri(job: str, output: str) -> str:
    """Where a job's named output is, as the service tells it."""
    return f"azureml://datastores/{OUTPUTS}/paths/azureml/{job}/{output}/"


def utc(seconds: float | None) -> str | None:
    """ISO 8601 as the services write it."""
    if seconds is None:
        return None
    return datetime.fromtimestamp(seconds, UTC).isoformat().replace("+00:00", "Z")


def studio_url(record: Record, studio: str) -> str:
    """The job in the studio. The SDK adds the tenant itself (JobOperations, studio URL)."""
    workspace = record["workspace"].replace("/resourceGroups/", "/resourcegroups/")
    return f"{studio}/runs/{record['name']}?wsid={workspace}"


def arm_job(record: Record, studio: str, tracking: str) -> dict[str, Any]:
    """The ARM resource of a job."""
    body = record["body"]
    places = {
        name: one["uri"] for name, one in (record.get("command") or {}).get("outputs", {}).items()
    }
    places |= {**record.get("bound", {}), **record["outputs"]}
    outputs = {
        name: {
            **about,
            "uri": places.get(name) or about.get("uri") or output_uri(record["name"], name),
        }
        for name, about in (body.get("outputs") or {}).items()
    }
    if record.get("command"):  # what the program left in its folder, and its log
        place = f"azureml://datastores/{ARTIFACTS}/paths/{artifact_folder(record['name'])}/"
        outputs["default"] = {"jobOutputType": "uri_folder", "uri": place}
    services = {
        "Tracking": {"jobServiceType": "Tracking", "endpoint": tracking},
        "Studio": {
            "jobServiceType": "Studio",
            "endpoint": studio_url(record, studio),
        },
    }
    return {
        "id": f"{record['workspace']}/jobs/{record['name']}",
        "name": record["name"],
        "type": "Microsoft.MachineLearningServices/workspaces/jobs",
        "properties": {
            **body,
            "displayName": record["display_name"],
            "description": record["description"],
            "experimentName": record["experiment"],
            "tags": record["tags"],
            "properties": record["properties"],
            "isArchived": record["archived"],
            "status": record["status"],
            "services": services,
            "outputs": outputs,
            "jobType": kind(record),
        },
        "systemData": {
            "createdAt": utc(record["created"]),
            "createdBy": "emulator",
            "createdByType": "User",
        },
    }


def run(record: Record) -> dict[str, Any]:
    """A run as run history shows it: pipeline job or step."""
    return {
        "runId": record["name"],
        "runUuid": str(uuid.uuid5(uuid.NAMESPACE_URL, record["name"])),
        "parentRunId": record["parent"],
        "rootRunId": record["root"],
        "experimentId": record["experiment_id"],
        "displayName": record["display_name"],
        "description": record["description"],
        "status": record["status"],
        "runType": record["run_type"],
        "createdUtc": utc(record["created"]),
        "startTimeUtc": utc(record["started"]),
        "endTimeUtc": utc(record["ended"]),
        "createdTimeUtc": utc(record["created"]),
        "createdBy": {"userName": "emulator"},
        "target": record["compute"],
        "compute": {"target": record["compute"], "nodeCount": 1} if record["compute"] else None,
        "tags": record["tags"],
        "properties": record["properties"],
        "hidden": record["archived"],
        "error": record["error"],
        "warnings": [],
        # Folders, also where they hold a model: asked to resolve a model, azure-ai-ml 1.35.2
        # fails on an argument of its own before it sends anything.
        "outputs": {
            name: {
                "assetId": f"azureml://jobs/{record['name']}/outputs/{name}",
                "type": "uri_folder",
            }
            for name in record["outputs"]
        },
        "inputs": {},
    }


def run_details(record: Record, logs: dict[str, str]) -> dict[str, Any]:
    """A run with the addresses of its logs."""
    return {**run(record), "runDefinition": None, "logFiles": logs, "inputDatasets": []}


def step_error(
    code: int, log_file: str, said: str, location: str, program: str = "python"
) -> dict[str, Any]:
    """The error of a step whose program ended with ``code``, ``said`` being its last words."""
    how = f"exited with status code {code}" if code < 128 else f"was ended by signal {code - 128}"
    message = (
        f"Execution failed. User process '{program}' {how}. Please check log file '{log_file}' "
        f"for error details. Error: {said or 'the program said nothing.'}"
    )
    return error("UserError", message, location)


def pipeline_error(failed: Record, location: str) -> dict[str, Any]:
    """The error of a pipeline one of whose steps has failed, with that step's own below it."""
    message = (
        f"Pipeline has failed child jobs. Failed nodes: /{failed['step']}. For more details and "
        "logs, please go to the job detail page and check the child jobs."
    )
    whole = error("UserError", message, location)
    whole["error"]["details"] = [failed["error"]["error"]]
    return whole


def error(code: str, message: str, location: str) -> dict[str, Any]:
    """An error as run history wraps it."""
    return {
        "error": {"code": code, "message": message, "messageParameters": {}, "details": []},
        "environment": location,
        "location": location,
        "componentName": "pipeline",
    }
