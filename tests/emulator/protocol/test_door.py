"""The door: what the descriptions forbid is refused before a handler sees it, leaving nothing."""

import json
import re
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from emulator.app import management_routes
from emulator.protocol.descriptions import AZURE, Operation
from emulator.protocol.descriptions.operations import described
from tests.emulator.protocol.descriptions.generated import breaks, good
from tests.emulator.support.in_process import InProcess

KINDS = ("compute", "model", "data", "endpoint", "deployment", "job", "job_step", "operation")
LIMITS = settings(
    max_examples=8,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
)
MISSING = "The api-version query parameter (?api-version=) is required for all requests."


@pytest.fixture(scope="module")
def filled(tmp_path_factory) -> Iterator[InProcess]:
    """An emulator that has one of each, so that a bad request fails by what is bad in it."""
    found = InProcess(tmp_path_factory.mktemp("door") / "state")
    found.finish(found.cluster("gpu-cluster"))
    found.finish(found.endpoint())
    found.finish(found.deploy(found.model()))
    yield found
    found.close()


def stored(azure: InProcess) -> dict[str, list[object]]:
    return {kind: azure.emulator.store.list(kind) for kind in KINDS}


def refusal(answer):
    error = answer.json()["error"]
    return answer.status_code, error["code"], error.get("target")


# -- single rules


def test_a_field_of_the_wrong_type_is_named_with_its_path(azure):
    answer = azure.cluster("gpu", scaleSettings={"maxNodeCount": "seven"})

    place = "body.properties.properties.scaleSettings.maxNodeCount"
    text = f"'{place}' is the string 'seven'; it must be an integer."
    assert refusal(answer) == (400, "InvalidRequestContent", place)
    assert answer.json()["error"]["details"] == [
        {"code": "InvalidRequestContent", "message": text, "target": place}
    ]
    assert text in answer.json()["error"]["message"]
    assert azure.ask("GET", "computes").json()["value"] == []


def test_every_fault_of_a_body_is_told_at_once(azure):
    body = {"tags": {"a": 7}, "properties": {"authMode": "Nothing"}}
    error = azure.ask("PUT", "onlineEndpoints/chat-end", json=body).json()["error"]

    assert sorted(one["target"] for one in error["details"]) == [
        "body.location", "body.properties.authMode", "body.tags.a",
    ]  # fmt: skip


def test_a_member_that_no_resource_has_is_told_in_arms_words(azure):
    content = '{"location": "westeurope",\n "colour": "red", "properties": {"authMode": "Key"}}'
    answer = azure.ask("PUT", "onlineEndpoints/chat-end", content=content)

    assert refusal(answer)[:2] == (400, "InvalidRequestContent")
    assert answer.json()["error"]["message"] == (
        "The request content was invalid and could not be deserialized: 'Could not find member "
        "'colour' on object of type 'ResourceDefinition'. Path 'colour', line 2, position 10.'."
    )


def test_an_unknown_name_below_properties_is_let_pass(azure):
    assert azure.endpoint(colour="red").status_code == 201


@pytest.mark.parametrize(
    ("version", "code"),
    [
        (None, "MissingApiVersionParameter"),
        ("yesterday", "InvalidApiVersionParameter"),
        ("2019-01-02", "NoRegisteredProviderFound"),
    ],
)
@pytest.mark.parametrize("path", ["", "computes", "jobs/j-1", "onlineEndpoints/e/deployments"])
def test_an_api_version_that_azure_does_not_have_is_refused(azure, path, version, code):
    answer = azure.ask("GET", path, params={"api-version": version})

    assert refusal(answer) == (400, code, "query.api-version")
    assert (answer.json()["error"]["message"] == MISSING) == (version is None)


def test_a_token_is_asked_for_before_anything_else(azure):
    answer = azure.ask(
        "GET", "computes", params={"api-version": None}, headers={"Authorization": ""}
    )

    assert answer.status_code == 401


def test_a_query_that_no_operation_has_is_let_pass_as_azure_does(azure):
    assert azure.ask("GET", "jobs", params={"$top": "3"}).status_code == 200


@pytest.mark.parametrize(
    ("path", "query"),
    [
        ("models", "count=many"),
        ("models", "listViewType=nosuch"),
        ("models/chat/versions", "offset=many"),
        ("jobs", "scheduled=perhaps"),
        ("onlineEndpoints", "computeType=nosuch"),
        ("onlineEndpoints", "orderBy=nosuch"),
        ("datastores", "isDefault=perhaps"),
    ],
)
def test_a_filter_with_a_value_that_is_none_is_refused(azure, path, query):
    answer = azure.ask("GET", f"{path}?{query}")

    target = "query." + query.partition("=")[0]
    assert refusal(answer) == (400, "InvalidQueryParameter", target)


def test_a_cluster_is_deleted_with_a_word_about_its_machines_only(azure):
    azure.finish(azure.cluster("gpu"))
    answer = azure.ask("DELETE", "computes/gpu")

    assert refusal(answer) == (400, "InvalidQueryParameter", "query.underlyingResourceAction")
    assert azure.ask("GET", "computes/gpu").status_code == 200


def test_a_body_nested_without_end_is_refused(azure):
    content = '{"properties": ' + '{"a": ' * 5000 + "1" + "}" * 5001

    answer = azure.ask("PUT", "jobs/job-1", content=content)

    assert refusal(answer)[:2] == (400, "InvalidRequestContent")


def test_mlflow_is_refused_in_its_own_words(azure):
    path = f"/mlflow/v1.0{azure.config.workspace_id}/api/2.0/mlflow/runs/log-batch"
    answer = azure.at(azure.config.api_host, "POST", path, json={"metrics": "none"})

    assert answer.status_code == 400
    assert answer.json()["error_code"] == "INVALID_PARAMETER_VALUE"
    assert "'body.metrics' is the string 'none'" in answer.json()["message"]


# -- every rule of every body


def path_of(operation: Operation, serial: str = "x1a") -> str:
    """A path of the operation; what it writes gets the serial as its name."""
    names = {"endpointName": "chat-end", "name": "chat", "version": serial}
    text = operation.template.replace("{endpointName}", "chat-end")
    if operation.method == "POST":
        names |= {"deploymentName": "blue", "computeName": "gpu-cluster"}
        names["name"] = "workspaceblobstore" if "/datastores/" in text else "chat"
    return re.sub(r"\{(\w+)\}", lambda match: names.get(match[1], serial), text)


def in_workspace(azure: InProcess, path: str) -> str:
    below = path.partition("/workspaces/")[2].partition("/")[2]
    return f"{azure.config.workspace_id}/{below}"


def routed() -> list[Operation]:
    """The operations with a body that the emulator's management host answers."""
    from pathlib import Path
    from tempfile import TemporaryDirectory

    from emulator.app import Emulator
    from emulator.configuration import Configuration, Identity

    with TemporaryDirectory() as folder:
        emulator = Emulator(Configuration(Path(folder), Path(folder), Identity()))
        routes = management_routes(emulator)
        emulator.store.close()
    return [
        one
        for one in described(AZURE)
        if one.is_arm and one.about.get("body") and "/workspaces/" in one.template
        if any(
            one.method in (route.methods or ()) and route.path_regex.match(path_of(one))
            for route in routes
        )
    ]


WRITING = [(one, version) for one in routed() for version in one.versions]


def name(case: object) -> str:
    return case.name if isinstance(case, Operation) else str(case)


@pytest.mark.parametrize(("operation", "version"), WRITING, ids=name)
@LIMITS
@given(data=st.data())
def test_one_broken_rule_is_a_readable_400_and_leaves_nothing(filled, operation, version, data):
    schema = operation.schema(version)
    body = data.draw(good(schema, schema["$defs"]))
    one = data.draw(st.sampled_from(list(breaks(schema, schema["$defs"], body))))
    before = stored(filled)

    path = in_workspace(filled, path_of(operation))
    content = json.dumps(one.done(body))
    answer = filled.ask(operation.method, path, content=content, params={"api-version": version})

    assert answer.status_code == 400, (one, answer.text)
    error = answer.json()["error"]
    assert one.path in [detail["target"] for detail in error["details"]], (one, error)
    assert error["message"] and error["code"]
    assert stored(filled) == before


@pytest.mark.parametrize(("operation", "version"), WRITING, ids=name)
@LIMITS
@given(data=st.data())
def test_what_a_description_allows_never_makes_a_handler_fail(filled, operation, version, data):
    schema = operation.schema(version)
    body = data.draw(good(schema, schema["$defs"]))
    serial = data.draw(st.from_regex("[a-z]{6}", fullmatch=True))

    path = in_workspace(filled, path_of(operation, serial))
    answer = filled.ask(operation.method, path, json=body, params={"api-version": version})

    assert answer.status_code < 500 or answer.status_code == 501, answer.text
    if answer.status_code >= 400:
        assert answer.json()["error"]["message"]
