"""The Bicep files: they parse, and say what the flow, the role and the receiver of events say.

No compiler of Bicep was to be had here; the names of a compute's properties are held against the
models that Azure's SDK brings. Those of the role and of the subscription were held against
azure-mgmt-authorization 4.0.0 and azure-mgmt-eventgrid 10.4.0 by hand.
"""

from __future__ import annotations

import json
import re
from typing import Any

import lark
import pycep
import pytest
from azure.ai.ml._restclient.arm_ml_service import models
from starlette.testclient import TestClient

from deployments.events import COMPLETED, STATUS_CHANGED, create_app
from deployments.local_stack import ROOT
from finetuning.form.run import FineTune

FOLDER = ROOT / "deployments" / "azure"
FILES = sorted(FOLDER.glob("*.bicep"))


def parsed(name: str) -> dict[str, Any]:
    found = pycep.BicepParser().parse(file_path=FOLDER / f"{name}.bicep")
    return json.loads(json.dumps(found))  # plain values


def resource(name: str, symbol: str) -> Any:
    """The body of a resource, its parameters replaced by their defaults where they have some."""
    whole = parsed(name)
    defaults = {
        parameter: about["default"]
        for parameter, about in whole["parameters"].items()
        if about["default"] is not None
    }
    return _filled(whole["resources"][symbol]["config"], defaults)


def _filled(value: Any, defaults: dict[str, Any]) -> Any:
    if isinstance(value, dict):
        return {name: _filled(inner, defaults) for name, inner in value.items()}
    if isinstance(value, list):
        return [_filled(inner, defaults) for inner in value]
    return defaults.get(value, value) if isinstance(value, str) else value


def test_there_are_a_role_a_cluster_and_a_subscription() -> None:
    assert [path.stem for path in FILES] == ["cluster", "events", "role"]


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_a_file_describes_its_parameters_and_says_that_it_is_unrun(path: Any) -> None:
    whole = parsed(path.stem)

    described = [
        name
        for name, about in whole["parameters"].items()
        if any(one["type"] == "description" for one in about["decorators"])
    ]
    assert described == list(whole["parameters"])
    assert "Nobody has run it" in path.read_text(encoding="utf-8")
    assert re.search(rf"--template-file deployments/azure/{path.name}\b", path.read_text("utf-8"))


def test_a_file_that_is_no_bicep_would_be_noticed() -> None:
    with pytest.raises(lark.exceptions.LarkError):
        pycep.BicepParser().parse(text="resource cluster 'x@y' = {\n  name: 'a'\n")


def test_the_roles_actions_are_those_of_the_json() -> None:
    loaded = parsed("role")["variables"]["role"]["value"]["function"]
    path = FOLDER / loaded["parameters"]["file_path"]
    (permissions,) = resource("role", "runner")["properties"]["permissions"]

    taken = {name: value["operator"]["operands"] for name, value in permissions.items()}
    assert loaded["type"] == "load_json_content"
    assert path.resolve() == ROOT / "docs" / "azure-role.json"
    assert taken == {
        name: {"operand_1": "role", "operand_2": name[0].upper() + name[1:]}
        for name in ("actions", "notActions", "dataActions", "notDataActions")
    }
    assert {one["operand_2"] for one in taken.values()} <= set(json.loads(path.read_text()))


def test_the_role_is_assigned_on_the_workspace_alone() -> None:
    assert resource("role", "assignment")["scope"] == "workspace"


def test_the_cluster_is_the_runs_and_bills_nothing_when_idle() -> None:
    wanted = FineTune().compute

    body = resource("cluster", "cluster")
    made = models.ComputeResource({"properties": body["properties"]})

    about, scale = made.properties.properties, made.properties.properties.scale_settings
    assert (body["name"], about.vm_size) == (wanted.name, "Standard_NC24ads_A100_v4")
    assert about.vm_priority in {one.value for one in models.VmPriority}
    assert (scale.min_node_count, scale.max_node_count) == (0, wanted.max_nodes)
    assert scale.node_idle_time_before_scale_down.total_seconds() == wanted.idle_minutes * 60
    assert set(body["properties"]["properties"]) == {"vmSize", "vmPriority", "scaleSettings"}


def test_the_subscription_posts_what_the_receiver_takes_where_it_listens() -> None:
    about = resource("events", "subscription")
    key = parsed("events")["parameters"]["key"]["decorators"]
    url = about["properties"]["destination"]["properties"]["endpointUrl"]
    here = url.replace("https://${host}", "").replace("${uriComponent(key)}", "a-long-enough-key")

    receiver = TestClient(create_app("a-long-enough-key"))

    assert receiver.post(here, json=[]).status_code == 200
    assert about["scope"] == "workspace"
    assert about["properties"]["filter"]["includedEventTypes"] == [COMPLETED, STATUS_CHANGED]
    assert {"type": "secure"} in key and {"type": "min_length", "argument": 16} in key
