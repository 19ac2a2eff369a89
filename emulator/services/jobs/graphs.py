"""Pipelines of the workspace's own command components: nodes, what they bind, their order."""

import re
from collections.abc import Iterable
from typing import Any

from emulator.services.jobs import commands
from emulator.services.jobs.commands import Known
from emulator.services.jobs.inputs import BINDING, OUTPUT_BINDING
from emulator.services.jobs.refusals import NotOffered, Refused
from emulator.services.jobs.steps import PATH_TYPES, declared
from emulator.services.jobs.submission import check_inputs

STEP_BINDING = re.compile(r"\$\{\{\s*parent\.jobs\.(?P<step>\w+)\.outputs\.(?P<output>\w+)\s*\}\}")
WORKSPACE = re.compile(
    r"(?:azureml:)?/subscriptions/.*/workspaces/[^/]+/components/", re.IGNORECASE
)
SHORT = re.compile(r"azureml:[^/:@]+[:@][^/:@]+")
INTEGER = re.compile(r"[+-]?\d+")
NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?")
BOOLEAN = re.compile(r"true|false", re.IGNORECASE)
NODE_FIELDS = ("queue_settings", "services", "environmentId", "codeId")
SETTINGS = ("on_init", "on_finalize")
JOB_FIELDS = (
    "notificationSetting", "secretsConfiguration", "services", "sourceJobId", "queueSettings",
    "resources", "limits", "parentJobName",
)  # fmt: skip


def is_graph(body: dict[str, Any]) -> bool:
    """Whether the pipeline calls components of the workspace."""
    nodes = (body.get("jobs") or {}).values()
    ids = [str((node or {}).get("componentId") or "") for node in nodes]
    return any(WORKSPACE.match(one) or SHORT.fullmatch(one) for one in ids)


def steps(body: dict[str, Any], known: Known) -> dict[str, dict[str, Any]]:
    """The commands of the pipeline's nodes by name, each after those that it needs.

    A command has ``needs`` (names of nodes) besides. Raises Refused or NotOffered.
    """
    for field in JOB_FIELDS:
        if body.get(field):
            raise NotOffered(f"properties {field}")
    commands.check_identity(body.get("identity"))
    for field in SETTINGS:
        if (body.get("settings") or {}).get(field):
            raise NotOffered(f"properties.settings {field}")
    for name, one in (body.get("outputs") or {}).items():
        commands.job_output(name, one or {})
    nodes = body.get("jobs") or {}
    found = {name: _step(name, node or {}, body, known) for name, node in nodes.items()}
    _check_step_bindings(found)
    return {name: found[name] for name in _ordered(found)}


def _step(name: str, node: dict[str, Any], body: dict[str, Any], known: Known) -> dict[str, Any]:
    for field in NODE_FIELDS:
        if node.get(field):
            raise NotOffered(f"{field} of the node '{name}'")
    commands.check_identity(node.get("identity"))
    component = _component(name, node, known)
    given = node.get("inputs") or {}
    check_inputs(component, given)
    inputs = _inputs(component, given, body)
    settings = {key: component.get(key) for key in ("resources", "distribution")}
    settings |= {key: node[key] for key in ("resources", "distribution", "limits") if node.get(key)}
    default = (body.get("settings") or {}).get("default_compute") or body.get("computeId")
    command = {
        "command": str(component["command"]),
        "code": component.get("code"),
        "environment": component["environment"],
        "variables": {
            **(component.get("environment_variables") or {}),
            **(node.get("environment_variables") or {}),
        },
        "inputs": inputs,
        "outputs": _outputs(component, node.get("outputs") or {}, body),
        "compute": node.get("computeId") or default,
        "needs": sorted({one["step"] for one in inputs.values() if "step" in one}),
        "display_name": node.get("display_name"),
        **commands.settings(settings, known),
    }
    return commands.checked(command, known)


def _component(name: str, node: dict[str, Any], known: Known) -> dict[str, Any]:
    """The specification of the command component that a node calls."""
    kind, address = str(node.get("type") or "command"), str(node.get("componentId") or "")
    if not (WORKSPACE.match(address) or SHORT.fullmatch(address)):
        what = f"calls '{address}'" if address else f"is of type '{kind}'"
        raise NotOffered(f"the node '{name}', which {what}, beside the workspace's components")
    asset, version = commands.versioned(address, "components", known)
    found = known.assets.get("components", asset, version)
    if found is None:
        raise Refused(f"Component '{asset}' version '{version}' was not found in the workspace.")
    if kind != "command":
        raise NotOffered(f"the node '{name}' of type '{kind}'")
    return dict(found["properties"]["componentSpec"])


def _inputs(
    component: dict[str, Any], given: dict[str, Any], body: dict[str, Any]
) -> dict[str, dict[str, Any]]:
    found = {}
    for name, about in declared(component).items():
        kind = str(about.get("type"))
        value = given.get(name, about.get("default"))
        if value is None:
            continue
        one = _input(name, value, body)
        if one is None:  # an optional input of the pipeline that was not given
            continue
        if kind in PATH_TYPES and "value" not in one:
            one = {**one, "type": kind}
            wanted = (value or {}).get("mode") if isinstance(value, dict) else None
            wanted = wanted or one.get("mode") or about.get("mode")
            one["mode"] = commands.mode(name, wanted, commands.INPUT_MODES)
        else:
            _check_literal(name, kind, one)
        found[name] = one
    return found


def _check_literal(name: str, kind: str, given: dict[str, Any]) -> None:
    """Raises Refused: a value that is not of the declared type, or data where a value belongs."""
    if kind in PATH_TYPES or "value" not in given:
        what = "data" if kind in PATH_TYPES else "a value"
        raise Refused(f"Input '{name}' is {what} of type {kind}, and something else was given.")
    forms = {"integer": INTEGER, "number": NUMBER, "boolean": BOOLEAN}
    if kind in forms and not forms[kind].fullmatch(str(given["value"])):
        raise Refused(f"Input '{name}' is '{given['value']}', which is not of type {kind}.")


def _input(name: str, value: Any, body: dict[str, Any]) -> dict[str, Any] | None:
    """A node's input: a value, an address, the pipeline's input, or another step's output."""
    one = value if isinstance(value, dict) else {"value": value}
    text = str(one.get("value", "")).strip()
    if bound := BINDING.fullmatch(text):
        outer = body.get("inputs") or {}
        if bound["name"] not in outer:
            raise Refused(f"Input '{name}' is bound to '{bound['name']}', which the job has not.")
        given = outer[bound["name"]]
        return commands.job_input(name, given) if given else None
    if bound := STEP_BINDING.fullmatch(text):
        return {"step": bound["step"], "output": bound["output"]}
    if "${{" in text:
        raise NotOffered(f"the expression {text} of input '{name}'")
    return commands.job_input(name, one)


def _outputs(
    component: dict[str, Any], given: dict[str, Any], body: dict[str, Any]
) -> dict[str, dict[str, Any]]:
    """The component's outputs; ``job_output`` names the pipeline's output that one of them is."""
    known = component.get("outputs") or {}
    for name in given:
        if name not in known:
            raise Refused(f"Component '{component.get('name')}' has no output '{name}'.")
    found = {}
    for name, about in known.items():
        value = given.get(name)
        one: dict[str, Any] = value if isinstance(value, dict) else {"value": value}
        bound = OUTPUT_BINDING.fullmatch(str(one.get("value") or "").strip())
        outer = (body.get("outputs") or {}).get(bound["name"]) if bound else None
        if bound and bound["name"] not in (body.get("outputs") or {}):
            raise Refused(f"Output '{name}' is bound to '{bound['name']}', which the job has not.")
        settings = {**one, **{key: it for key, it in (outer or {}).items() if it}}
        settings["mode"] = settings.get("mode") or about.get("mode")
        made = commands.job_output(name, settings) | {"type": str(about.get("type"))}
        found[name] = made | ({"job_output": bound["name"]} if bound else {})
    return found


def _check_step_bindings(found: dict[str, dict[str, Any]]) -> None:
    for name, command in found.items():
        for key, one in command["inputs"].items():
            if "step" not in one:
                continue
            if one["output"] not in (found.get(one["step"]) or {"outputs": {}})["outputs"]:
                text = f"{one['step']}.{one['output']}"
                raise Refused(
                    f"Input '{key}' of '{name}' is bound to '{text}', which there is not."
                )


def _ordered(found: dict[str, dict[str, Any]]) -> Iterable[str]:
    """The steps' names, each after those that it needs. Raises Refused: a circle."""
    left, done = dict(found), list[str]()
    while left:
        ready = [name for name, one in left.items() if set(one["needs"]) <= set(done)]
        if not ready:
            raise Refused(f"The steps {', '.join(sorted(left))} wait for each other.")
        done += ready
        for name in ready:
            del left[name]
    return done
