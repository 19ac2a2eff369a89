"""The records of command jobs and of pipelines of command components."""

from typing import Any

from emulator.services.jobs import commands, graphs, records
from emulator.services.jobs.commands import Known
from emulator.services.jobs.records import Record
from emulator.services.jobs.references import check_limits
from emulator.services.jobs.refusals import Refused
from emulator.services.jobs.submission import Submission, check_name, is_low_priority

#: How ARM writes the modes.
MODES = {
    "readonlymount": "ReadOnlyMount",
    "readwritemount": "ReadWriteMount",
    "download": "Download",
    "upload": "Upload",
    "direct": "Direct",
}


def command_job(workspace: str, name: str, body: Record, known: Known, now: float) -> Submission:
    """A command job, ready to be stored. Raises Refused or NotOffered."""
    check_name(name)
    check_limits(body)
    command = commands.of_job(body, known)
    job = records.pipeline_record(workspace, name, body, now)
    own = {"_azureml.ComputeTargetType": "amlctrain"}
    given = body.get("properties") or {}
    job |= {"run_type": "azureml.scriptrun", "properties": {**own, **given}}
    job |= _running_on(command, name, known)
    return Submission(job, [])


def _running_on(command: dict[str, Any], run: str, known: Known) -> Record:
    """What a record says of its command, with the addresses of its outputs."""
    outputs = {
        name: {**one, "uri": _address(one, name, run)} for name, one in command["outputs"].items()
    }
    cluster = known.clusters.get(command["compute"].lower(), {})
    return {
        "command": {**command, "outputs": outputs},
        "compute": command["compute"],
        "low_priority": is_low_priority(cluster),
        "children": [],
    }


def _address(output: dict[str, Any], name: str, run: str) -> str:
    """Where an output goes; the expressions are those of core syntax's output paths."""
    if not output.get("uri"):
        place = records.output_uri(run, name)
        return place.rstrip("/") if output["type"] == "uri_file" else place
    values = {"name": run, "output_name": name, "default_datastore": records.OUTPUTS}
    text = str(output["uri"])
    for key, value in values.items():
        text = text.replace("${{" + key + "}}", value)
    return text


def graph_job(workspace: str, name: str, body: Record, known: Known, now: float) -> Submission:
    """A pipeline of command components and its steps. Raises Refused or NotOffered."""
    check_name(name)
    check_limits(body)
    found = graphs.steps(body, known)
    job = records.pipeline_record(workspace, name, body, now)
    made: dict[str, Record] = {}
    for order, (step, command) in enumerate(found.items()):
        record = records.step_record(job, step, order, command["compute"], now)
        record["display_name"] = command.pop("display_name") or step
        command["inputs"] = {key: _fed(one, made) for key, one in command["inputs"].items()}
        command["outputs"] = {key: _owned(one, name) for key, one in command["outputs"].items()}
        record |= _running_on(command, record["name"], known)
        record["body"] = _shown(record["command"])
        made[step] = record
    bound = {
        one["job_output"]: one["uri"]
        for record in made.values()
        for one in record["command"]["outputs"].values()
        if "job_output" in one
    }
    unbound = sorted(set(body.get("outputs") or {}) - set(bound))
    if unbound:
        raise Refused(f"No step makes the outputs {', '.join(unbound)} of the job.")
    job |= {
        "graph": True,
        "bound": bound,
        "continues": bool((body.get("settings") or {}).get("continue_on_step_failure")),
        "children": [record["name"] for record in made.values()],
    }
    return Submission(job, list(made.values()))


def _fed(given: dict[str, Any], made: dict[str, Record]) -> dict[str, Any]:
    """An input with its address, where that is the output of an earlier step."""
    if "step" not in given:
        return given
    output = made[given["step"]]["command"]["outputs"][given["output"]]
    return {"type": given["type"], "mode": given["mode"], "uri": output["uri"]}


def _owned(output: dict[str, Any], job: str) -> dict[str, Any]:
    """An output that is the pipeline's is where the pipeline's output is."""
    if "job_output" not in output or output.get("uri"):
        return output
    return {**output, "uri": _address(output, output["job_output"], job)}


def _shown(command: dict[str, Any]) -> Record:
    """A step's command in the shape of a command job's properties."""
    return {
        "jobType": "Command",
        "command": command["command"],
        "environmentId": command["environment"],
        **({"codeId": command["code"]} if command["code"] else {}),
        "environmentVariables": {key: str(value) for key, value in command["variables"].items()},
        "inputs": {
            name: {"jobInputType": one["type"], "value": one["value"]}
            if one["type"] == "literal"
            else {"jobInputType": one["type"], "mode": MODES[one["mode"]], "uri": one["uri"]}
            for name, one in command["inputs"].items()
        },
        "outputs": {
            name: {"jobOutputType": one["type"], "mode": MODES[one["mode"]]}
            for name, one in command["outputs"].items()
        },
    }
