"""What a command is to run, as a job or as a step of a pipeline: taken, or refused by name.

A command is plain data in its record: ``command`` (text), ``code`` and ``environment`` (ids, the
first may be None), ``variables``, ``inputs`` (``{name: {"type", "mode", "value" | "uri" |
"step" and "output"}}``), ``outputs`` (``{name: {"type", "mode", "uri"}}``), ``timeout`` (seconds or
None), ``distributed`` (whether the variables of PyTorch's distribution are set), ``compute``.
"""

import re
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from emulator.protocol.resources import duration
from emulator.services.assets.versions import Assets
from emulator.services.compute.nodes import SERVERLESS
from emulator.services.jobs.expressions import names
from emulator.services.jobs.references import COMPUTE_ID
from emulator.services.jobs.refusals import NotOffered, Refused

VERSIONED = re.compile(
    r"(?:azureml:)?(?:(?P<where>.*)/(?:codes|environments|components)/)?(?P<name>[^/:@]+)"
    r"(?:/versions/|/labels/|:|@)(?P<version>[^/:@]+)",
    re.IGNORECASE,
)
REGISTRY = re.compile(r"azureml://registries/", re.IGNORECASE)
CURATED = "azureml-"
#: What a command names of the workspace: the word for it, and what is said where it is not there.
KINDS = {
    "environments": (
        "environment",
        "No environment exists for name: {name}, version: {version}, label: ",
    ),
    "codes": ("code", "Code asset '{name}:{version}' was not found in the workspace."),
}
LABELS = ("latest", "default", "azureml_default")
INPUT_MODES = ("readonlymount", "readwritemount", "download", "direct")
OUTPUT_MODES = ("readwritemount", "upload", "direct")
#: As a pipeline's node and a component write them.
MODES = {
    "ro_mount": "ReadOnlyMount",
    "rw_mount": "ReadWriteMount",
    "download": "Download",
    "upload": "Upload",
    "direct": "Direct",
}
SHARED_MEMORY = Path("/dev/shm")
SIZE = re.compile(r"(?P<number>\d+)(?P<unit>[bkmg]?)", re.IGNORECASE)
UNITS = {"": 0, "b": 0, "k": 10, "m": 20, "g": 30}
#: Outputs that become assets, or go: Azure's job does it, this one does not.
OUTPUT_FIELDS = ("assetName", "assetVersion", "autoDeleteSetting", "pathOnCompute")
JOB_FIELDS = (
    "notificationSetting", "secretsConfiguration", "services", "queueSettings", "componentId",
    "parentJobName",
)  # fmt: skip


@dataclass(frozen=True)
class Known:
    """What a job may name: the workspace's assets and clusters, the region's sizes."""

    assets: Assets
    clusters: Mapping[str, dict[str, Any]]  # by name in lower case
    has_size: Callable[[str], bool]


def of_job(body: dict[str, Any], known: Known) -> dict[str, Any]:
    """The command of a command job. Raises Refused or NotOffered."""
    for name in JOB_FIELDS:
        if body.get(name):
            raise NotOffered(f"properties {name}")
    check_identity(body.get("identity"))
    autolog = (body.get("autologgerSettings") or {}).get("mlflowAutologger")
    if str(autolog).lower() == "enabled":
        raise NotOffered("properties autologgerSettings")
    found = {
        "command": body["command"],
        "code": body.get("codeId"),
        "environment": body["environmentId"],
        "variables": body.get("environmentVariables") or {},
        "inputs": {name: one or {} for name, one in (body.get("inputs") or {}).items()},
        "outputs": {name: one or {} for name, one in (body.get("outputs") or {}).items()},
        "compute": body.get("computeId"),
        **settings(body, known),
    }
    found["inputs"] = {name: job_input(name, one) for name, one in found["inputs"].items()}
    found["outputs"] = {name: job_output(name, one) for name, one in found["outputs"].items()}
    return checked(found, known)


def check_identity(identity: dict[str, Any] | None) -> None:
    """Raises NotOffered: an identity other than the token that every job has."""
    kind = (identity or {}).get("identityType") or (identity or {}).get("type") or "AMLToken"
    if str(kind).lower().replace("_", "") != "amltoken":
        raise NotOffered(f"identity of type {kind}")


def job_input(name: str, given: dict[str, Any]) -> dict[str, Any]:
    """An input of a job: a literal, or data at an address. Raises NotOffered."""
    kind = str(given.get("jobInputType") or given.get("job_input_type") or "literal").lower()
    if kind == "literal":
        return {"type": kind, "value": str(given.get("value"))}
    if given.get("pathOnCompute"):
        raise NotOffered(f"pathOnCompute of input '{name}'")
    return {"type": kind, "mode": mode(name, given.get("mode"), INPUT_MODES), "uri": given["uri"]}


def job_output(name: str, given: dict[str, Any]) -> dict[str, Any]:
    """An output of a job. Raises NotOffered."""
    for field in OUTPUT_FIELDS:
        if given.get(field):
            raise NotOffered(f"{field} of output '{name}'")
    kind = str(given.get("jobOutputType") or given.get("job_output_type") or "uri_folder").lower()
    found = {"type": kind, "mode": mode(name, given.get("mode"), OUTPUT_MODES)}
    return found | ({"uri": given["uri"]} if given.get("uri") else {})


def mode(name: str, given: str | None, offered: tuple[str, ...]) -> str:
    """How an input or output reaches the program, in lower case; a mount where nothing is said.

    Raises NotOffered.
    """
    wanted = MODES.get(str(given).lower(), given or offered[0]).lower()
    if wanted not in offered:
        raise NotOffered(f"mode {given} of '{name}'")
    return wanted


def settings(given: dict[str, Any], known: Known) -> dict[str, Any]:
    """Time limit and distribution, from a job or (in its own spelling) a node.

    Raises Refused: a size that the region has not; NotOffered: what is not done here.
    """
    _check_resources(
        {_camel(key): one for key, one in (given.get("resources") or {}).items()}, known
    )
    return {
        "timeout": _timeout(given.get("limits") or {}),
        "distributed": _is_distributed(given.get("distribution") or {}),
    }


def _camel(name: str) -> str:
    first, *rest = name.split("_")
    return first + "".join(part.capitalize() for part in rest)


def _check_resources(resources: dict[str, Any], known: Known) -> None:
    for field in ("dockerArgs", "dockerArgsList", "locations", "maxInstanceCount", "properties"):
        if resources.get(field):
            raise NotOffered(f"resources.{field}")
    count = int(resources.get("instanceCount") or 1)
    if count != 1:
        raise NotOffered(f"resources.instanceCount {count}; a command has one node")
    size = resources.get("instanceType")
    if size and not known.has_size(str(size)):
        raise Refused(f"The VM size '{size}' is not available in this region.")
    wanted = str(resources.get("shmSize") or "")
    if wanted and _bytes(wanted) > _shared_memory():
        raise NotOffered(f"resources.shmSize {wanted}, more shared memory than this machine has")


def _bytes(text: str) -> int:
    match = SIZE.fullmatch(text)
    if match is None:
        raise Refused(f"The shared memory size '{text}' is not a number with b, k, m or g.")
    return int(match["number"]) << UNITS[match["unit"].lower()]


def _shared_memory() -> int:
    return shutil.disk_usage(SHARED_MEMORY).total if SHARED_MEMORY.is_dir() else 0


def _timeout(limits: dict[str, Any]) -> float | None:
    text = limits.get("timeout")
    return duration(str(text)) if text else None


def _is_distributed(distribution: dict[str, Any]) -> bool:
    kind = distribution.get("distributionType") or distribution.get("distribution_type")
    kind = kind or distribution.get("type")
    if kind is None:
        return False
    count = distribution.get("processCountPerInstance")
    count = count or distribution.get("process_count_per_instance") or 1
    if str(kind).lower() != "pytorch" or int(count) != 1:
        raise NotOffered(f"distribution {kind} of {count} processes; a command is one process")
    return True


def checked(command: dict[str, Any], known: Known) -> dict[str, Any]:
    """The command, its names found. Raises Refused: something that it names is not there."""
    command["environment"] = asset("environments", str(command["environment"]), known)
    if command["code"]:
        command["code"] = asset("codes", str(command["code"]), known)
    command["compute"] = compute(command["compute"], known)
    for kind in ("inputs", "outputs"):
        unknown = sorted(names(command["command"], kind) - set(command[kind]))
        if unknown:
            raise Refused(f"The command uses the {kind} {', '.join(unknown)}, which it has not.")
    return command


def versioned(address: str, kind: str, known: Known) -> tuple[str, str]:
    """Name and version in the address of an asset; a label is the newest. Raises Refused."""
    match = VERSIONED.fullmatch(address)
    if match is None:
        raise Refused(f"'{address}' is not the id of a version of {kind}.")
    name, version = match["name"], match["version"]
    is_label = version.lower() in LABELS and known.assets.get(kind, name, version) is None
    return name, known.assets.latest(kind, name) or version if is_label else version


def asset(kind: str, address: str, known: Known) -> str:
    """The id of a version of code or of an environment. Raises Refused: there is none.

    NotOffered: it is not the workspace's. The words of an environment that is not there are the
    service's: Azure/azure-sdk-for-python, issue 38594.
    """
    word, missing = KINDS[kind]
    curated = word == "environment" and address.lower().removeprefix("azureml:").startswith(CURATED)
    if curated or REGISTRY.match(address):
        raise NotOffered(f"the {word} '{address}', which is not the workspace's")
    name, version = versioned(address, kind, known)
    found = known.assets.get(kind, name, version)
    if found is None:
        raise Refused(missing.format(name=name, version=version))
    return str(found["id"])


def compute(address: str | None, known: Known) -> str:
    """The compute's name; serverless where none is named. Raises Refused."""
    if not address:
        return SERVERLESS
    match = COMPUTE_ID.fullmatch(str(address))
    name = match["name"] if match else str(address)
    if name.lower() == SERVERLESS:
        return SERVERLESS
    if name.lower() == "local":
        raise NotOffered("the compute 'local'")
    found = known.clusters.get(name.lower())
    if found is None:
        raise Refused(f"Unknown compute target '{name}'.")
    return str(found["name"])
