"""What a job names: fields that are not run, bindings and computes that must exist."""

import re
from collections.abc import Collection
from typing import Any

from emulator.catalogue import Catalogue
from emulator.protocol.registries import carried
from emulator.protocol.rules import JOB_LIMITS, Limits
from emulator.services.compute.nodes import SERVERLESS
from emulator.services.jobs.inputs import BINDING, OUTPUT_BINDING
from emulator.services.jobs.refusals import NotOffered, Refused

#: Fields of a job, of its node and of its settings that would change a run, and do not here.
JOB_FIELDS = (
    "identity", "notificationSetting", "secretsConfiguration", "services", "sourceJobId",
    "queueSettings", "resources", "limits",
)  # fmt: skip
NODE_FIELDS = (
    "environment_variables", "environmentId", "codeId", "resources", "limits", "distribution",
    "identity", "queue_settings", "services",
)  # fmt: skip
SETTINGS = ("on_init", "on_finalize")
OUTPUT_FIELDS = ("assetName", "assetVersion", "autoDeleteSetting", "pathOnCompute")
COMPUTE_ID = re.compile(r"(?:azureml:|.*/computes/)?(?P<name>[^/:]+)", re.IGNORECASE)


def check_offered(body: dict[str, Any], node: dict[str, Any]) -> None:
    """Raises NotOffered: a field that Azure honours and this emulator would drop."""
    _refuse("properties", body, JOB_FIELDS)
    _refuse("a node's", node, NODE_FIELDS)
    _refuse("properties.settings", body.get("settings") or {}, SETTINGS)
    for name, output in (body.get("outputs") or {}).items():
        _refuse(f"properties.outputs.{name}", output or {}, OUTPUT_FIELDS)


def _refuse(place: str, given: dict[str, Any], fields: Collection[str]) -> None:
    for name in fields:
        if given.get(name):
            raise NotOffered(f"{place} {name}")


def check_carried(catalogue: Catalogue, registry: str) -> None:
    """Raises NotOffered: a registry that Azure has and this emulator has not."""
    if catalogue.is_not_carried(registry):
        raise NotOffered(f"an asset of the registry '{registry}'; {carried(catalogue)}")


def check_bindings(body: dict[str, Any], node: dict[str, Any], component: dict[str, Any]) -> None:
    """Raises Refused: a binding to an input or output that the job or the component has not."""
    for name, given in (node.get("inputs") or {}).items():
        text = given.get("value", "") if isinstance(given, dict) else given
        bound = BINDING.fullmatch(str(text).strip())
        if bound and bound["name"] not in (body.get("inputs") or {}):
            raise Refused(f"Input '{name}' is bound to '{bound['name']}', which the job has not.")
    declared = component.get("outputs")
    for name, given in (node.get("outputs") or {}).items():
        if declared is not None and name not in declared:
            raise Refused(f"Component '{component.get('name')}' has no output '{name}'.")
        text = given.get("value", "") if isinstance(given, dict) else given
        bound = OUTPUT_BINDING.fullmatch(str(text).strip())
        if bound and bound["name"] not in (body.get("outputs") or {}):
            raise Refused(f"Output '{name}' is bound to '{bound['name']}', which the job has not.")


def check_computes(body: dict[str, Any], node: dict[str, Any], clusters: Collection[str]) -> None:
    """Raises Refused: a default compute, or a compute of the job or the node, that is not there.

    ``clusters`` are names in lower case.
    """
    settings = body.get("settings") or {}
    for address in (
        body.get("computeId"),
        node.get("computeId"),
        settings.get("default_compute"),
    ):
        match = COMPUTE_ID.fullmatch(str(address)) if address else None
        name = match["name"].lower() if match else str(address or SERVERLESS).lower()
        if name != SERVERLESS and name not in clusters:
            raise Refused(f"Unknown compute target '{address}'.")


def check_limits(given: dict[str, Any], limits: Limits = JOB_LIMITS) -> None:
    """Raises Refused: texts, tags or properties beyond what a run may have."""
    for name, most in limits.texts.items():
        text = str(given.get(name) or "")
        if len(text) > most:
            raise Refused(f"{name} has {len(text)} characters; at most {most} are allowed.")
    for name in ("tags", "properties"):
        pairs = given.get(name) or {}
        if len(pairs) > limits.pairs:
            raise Refused(f"There are {len(pairs)} {name}; at most {limits.pairs} are allowed.")
        for key, value in pairs.items():
            if len(key) > limits.key or len(str(value)) > limits.value:
                raise Refused(
                    f"{name}.{key[:20]}: a key has at most {limits.key} characters, a value at "
                    f"most {limits.value}."
                )
