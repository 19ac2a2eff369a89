"""What is checked before a job is accepted, and what a second PUT of the same name may do."""

import re
from dataclasses import dataclass
from typing import Any

from emulator.services.compute.nodes import SERVERLESS
from emulator.services.jobs.inputs import (
    addresses,
    bound_outputs,
    literals,
    node_inputs,
    output_places,
)
from emulator.services.jobs.records import (
    MUTABLE,
    Record,
    changed_fields,
    pipeline_record,
    step_record,
)
from emulator.services.jobs.references import (
    check_bindings,
    check_computes,
    check_limits,
    check_offered,
)
from emulator.services.jobs.refusals import NotOffered, Refused
from emulator.services.jobs.steps import STEPS, declared, parameters

NAME = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9_.\-]{0,254}")
COMPONENT_ID = re.compile(
    r"azureml:(?://registries/(?P<registry>[^/]+)/components/)?(?P<name>[^/:@]+)"
    r"(?:/(?:versions|labels)/|[:@])(?P<version>[^/:@]+)"
)


@dataclass(frozen=True)
class Submission:
    """A job and its steps, ready to be stored: steps first, so that a stored job is whole."""

    job: Record
    steps: list[Record]


def check_name(name: str) -> None:
    """Raises Refused: a name that Azure does not take."""
    if not NAME.fullmatch(name):
        raise Refused(
            f"The job name '{name}' is not valid. It has 1 to 255 characters: letters, digits, "
            "'_', '.' and '-', the first of them a letter or a digit."
        )


def the_node(body: Record) -> dict[str, Any]:
    """The pipeline's only node, which must call a component.

    Raises NotOffered: more nodes, or a node of another kind.
    """
    nodes = body.get("jobs") or {}
    if len(nodes) != 1:
        raise NotOffered(f"a pipeline of {len(nodes)} nodes; one that calls a component is run")
    node: dict[str, Any] = next(iter(nodes.values()))
    if not node.get("componentId"):
        raise NotOffered(f"a node of type '{node.get('type')}' without a component")
    return node


def component_name(component_id: str) -> tuple[str, str, str]:
    """Registry, name and version (or label) in a component's address. Raises Refused."""
    match = COMPONENT_ID.fullmatch(component_id)
    if match is None or match["registry"] is None:
        raise Refused(f"Component '{component_id}' was not found; the workspace has none.")
    return match["registry"], match["name"], match["version"]


def check_inputs(component: dict[str, Any], given: dict[str, Any]) -> None:
    """Raises Refused: an input that the component does not declare, or one it must have."""
    known = declared(component)
    unknown = sorted(set(given) - set(known))
    if unknown:
        raise Refused(
            f"Component '{component.get('name')}' does not declare the inputs {', '.join(unknown)}."
        )
    missing = sorted(
        name
        for name, about in known.items()
        if name not in given and not _optional(about) and about.get("default") is None
    )
    if missing:
        raise Refused(f"Component '{component.get('name')}' needs the inputs {', '.join(missing)}.")


def _optional(about: dict[str, Any]) -> bool:
    return str(about.get("optional", False)).lower() == "true"


def step_computes(component: dict[str, Any], values: dict[str, Any]) -> list[str]:
    """The compute of each step, in the steps' order."""
    known = declared(component)
    return [
        str(values.get(step.compute) or known.get(step.compute, {}).get("default") or SERVERLESS)
        for step in STEPS
    ]


def submission(
    workspace: str,
    name: str,
    body: Record,
    component: dict[str, Any],
    clusters: dict[str, dict[str, Any]],
    now: float,
) -> Submission:
    """Build the records of a new job. ``clusters`` are the workspace's, by name.

    Raises Refused or NotOffered; nothing is stored then.
    """
    check_name(name)
    check_limits(body)
    node = the_node(body)
    check_offered(body, node)
    check_bindings(body, node, component)
    inputs = node_inputs(body, node)
    check_inputs(component, inputs)
    computes = step_computes(component, literals(inputs))
    by_name = {cluster.lower(): about for cluster, about in clusters.items()}
    check_computes(body, node, by_name)
    for compute in computes:
        if compute != SERVERLESS and compute.lower() not in by_name:
            raise Refused(f"Unknown compute target '{compute}'.")
    job = pipeline_record(workspace, name, body, now)
    steps = [
        {
            **step_record(job, step.name, order, compute, now),
            "low_priority": is_low_priority(by_name.get(compute.lower(), {})),
        }
        for order, (step, compute) in enumerate(zip(STEPS, computes, strict=True))
    ]
    job["children"] = [step["name"] for step in steps]
    job["parameters"] = parameters(component, literals(inputs))
    job["addresses"] = addresses(inputs)
    job["bound_outputs"] = bound_outputs(body, node)
    job["output_places"] = output_places(body)
    return Submission(job, steps)


def is_low_priority(cluster: dict[str, Any]) -> bool:
    """Whether the cloud may take the cluster's nodes back."""
    inner = (cluster.get("properties") or {}).get("properties") or {}
    return str(inner.get("vmPriority", "")).lower() == "lowpriority"


def updated(record: Record, body: Record) -> Record:
    """The record after a second PUT of its name, which never starts anything.

    Raises Refused: the PUT would change what the first submission has fixed.
    """
    changed = changed_fields(record, body)
    if changed:
        raise Refused(
            "A job with this name already exists. If you are trying to create a new job, use a "
            "different name. If you are trying to update an existing job, the existing job's "
            f"{', '.join(changed)} cannot be changed. Only description, displayName, tags, "
            "properties and isArchived can be updated."
        )
    check_limits(body)
    return edited(record, {key: body[key] for key in MUTABLE if body.get(key) is not None})


def edited(record: Record, changes: dict[str, Any]) -> Record:
    """The record with other editable fields; tags and properties are merged."""
    return {
        **record,
        "display_name": changes.get("displayName") or record["display_name"],
        "description": changes.get("description") or record["description"],
        "tags": {**record["tags"], **(changes.get("tags") or {})},
        "properties": {**record["properties"], **(changes.get("properties") or {})},
        "archived": bool(changes.get("isArchived", record["archived"])),
    }
