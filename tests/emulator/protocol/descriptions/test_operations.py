"""Which operation a request means, and what is said against an exchange."""

import pytest

from emulator.protocol.descriptions import AZURE, IDENTITY, STORAGE, Operation, find
from emulator.protocol.descriptions.operations import described

GROUP = "/subscriptions/s/resourceGroups/g/providers/Microsoft.MachineLearningServices"
WORKSPACE = f"{GROUP}/workspaces/ws-1"
COMPUTES = {"api-version": "2023-08-01-preview"}
CLUSTER = {
    "location": "westeurope",
    "properties": {
        "computeType": "AmlCompute",
        "properties": {"vmSize": "Standard_ND40rs_v2", "scaleSettings": {"maxNodeCount": 2}},
    },
}


def found(method: str, path: str, query: dict[str, str] | None = None, **options: str) -> Operation:
    operation = find(method, path, query or COMPUTES, **options)
    assert operation is not None, f"{method} {path}"
    return operation


def texts(violations: list[object]) -> list[str]:
    return [str(one) for one in violations]


@pytest.mark.parametrize(
    ("method", "path", "name"),
    [
        ("GET", f"{WORKSPACE}/computes/gpu", "Compute_Get"),
        ("get", WORKSPACE.lower() + "/COMPUTES/gpu", "Compute_Get"),
        ("GET", f"{WORKSPACE}/models/m/versions", "ModelVersions_List"),
        ("GET", f"{WORKSPACE}/onlineEndpoints/e/deployments/d", "OnlineDeployments_Get"),
        ("HEAD", f"{WORKSPACE}", "Workspaces_Get"),
        ("GET", f"/mferp/managementfrontend{GROUP}/registries/r/models/m/versions/1",
         "RegistryModelVersions_Get"),
        ("GET", f"/history/v1.0{WORKSPACE}/runs/r/details", "Runs_GetDetails"),
    ],
)  # fmt: skip
def test_a_request_means_one_operation(method, path, name):
    assert found(method, path).name == name


def test_a_path_that_nobody_describes_is_no_operation():
    assert find("GET", f"{WORKSPACE}/sausages/s") is None
    assert find("PATCH", f"{WORKSPACE}/computes") is None


def test_storage_tells_its_operations_apart_by_query():
    blobs = {"comp": "list", "restype": "container"}

    assert found("GET", "/box", blobs, service=STORAGE).name == "Container_ListBlob"
    assert found("GET", "/box/a/b.txt", {"sv": "x"}, service=STORAGE).name == "Blob_Download"
    assert found("PUT", "/box/a", {"comp": "block"}, service=STORAGE).name == "BlockBlob_StageBlock"


def test_a_good_request_has_nothing_against_it():
    operation = found("PUT", f"{WORKSPACE}/computes/gpu-cluster")

    assert operation.check_request(COMPUTES, {}, CLUSTER) == []


@pytest.mark.parametrize(
    ("version", "code"),
    [
        (None, "MissingApiVersionParameter"),
        ("", "MissingApiVersionParameter"),
        ("yesterday", "InvalidApiVersionParameter"),
        ("2019-01-02", "NoRegisteredProviderFound"),
    ],
)
def test_an_api_version_that_is_missing_or_unknown_has_arms_code(version, code):
    query = {} if version is None else {"api-version": version}

    (wrong,) = found("GET", f"{WORKSPACE}/computes").check_request(query)

    assert (wrong.path, wrong.code) == ("query.api-version", code)


def test_an_api_version_that_azure_has_is_taken_also_where_it_is_not_described():
    assert found("GET", f"{WORKSPACE}/computes").check_request({"api-version": "2024-10-01"}) == []


def test_an_unknown_query_parameter_is_named_with_those_that_there_are():
    wrong = found("GET", f"{WORKSPACE}/computes").check_request({**COMPUTES, "colour": "red"})

    assert texts(wrong) == [
        "'query.colour' is the string 'red'; the operation has the query parameters: $skip."
    ]


def test_a_query_parameter_is_read_as_the_type_that_is_declared():
    operation = found("GET", f"{WORKSPACE}/onlineEndpoints")
    version = {"api-version": "2022-02-01-preview"}

    assert operation.check_request({**version, "count": "3"}) == []
    assert texts(operation.check_request({**version, "count": "three"})) == [
        "'query.count' is the string 'three'; it must be an integer."
    ]


@pytest.mark.parametrize("name", ["x", "7gpu", "gpu_cluster", "g" * 25])
def test_a_name_outside_the_whole_rule_is_refused(name):
    (wrong, *_) = found("PUT", f"{WORKSPACE}/computes/{name}").check_request(COMPUTES, {}, CLUSTER)

    assert wrong.path == "path.computeName"


def test_a_member_beside_properties_that_no_resource_has_is_refused():
    operation = found("PUT", f"{WORKSPACE}/computes/gpu")

    wrong = operation.check_request(COMPUTES, {}, {**CLUSTER, "vmSize": "x"})

    assert texts(wrong) == ["'body.vmSize' is unknown; a resource has no such member."]


def test_enumerations_are_read_without_case_in_requests_and_with_it_in_answers():
    operation = found("GET", f"{WORKSPACE}/computes/gpu")
    body = {"properties": {"computeType": "amlcompute"}}

    assert found("PUT", f"{WORKSPACE}/computes/gpu").check_request(COMPUTES, {}, body) == []
    (wrong,) = operation.check_response(200, {}, body)
    assert wrong.path == "body.properties.computeType"


def test_a_field_that_only_another_version_has_is_not_looked_at():
    query = {"api-version": "2023-04-01-preview"}
    path = f"{WORKSPACE}/jobs/j"
    job = {"jobType": "Command", "command": "ls", "environmentId": "env-1"}
    body = {"properties": {**job, "outputs": {"o": {"jobOutputType": "uri_file"}}}}
    body["properties"]["outputs"]["o"]["pathOnCompute"] = 5

    assert found("PUT", path, query).check_request(query, {}, body) == []
    newer = {"api-version": "2024-01-01-preview"}
    (wrong,) = found("PUT", path, newer).check_request(newer, {}, body)
    assert wrong.path == "body.properties.outputs.o.pathOnCompute"


def test_answers_may_have_more_fields_and_nulls_but_not_other_types():
    operation = found("GET", f"{WORKSPACE}/computes/gpu")
    body = {**CLUSTER, "new": 1, "sku": None}

    assert operation.check_response(200, {}, body) == []
    body = {**CLUSTER, "location": 7}
    assert texts(operation.check_response(200, {}, body)) == [
        "'body.location' is the integer 7; it must be a string."
    ]


def test_an_answer_without_a_place_to_poll_is_told():
    operation = found("DELETE", f"{WORKSPACE}/computes/gpu")

    (wrong,) = operation.check_response(202, {})

    assert "Azure-AsyncOperation or Location" in str(wrong)
    assert operation.check_response(202, {"location": "https://x"}) == []


def test_an_error_has_code_and_message():
    operation = found("GET", f"{WORKSPACE}/computes/gpu")

    assert operation.check_response(404, {}, {"error": {"code": "A", "message": "b"}}) == []
    (wrong,) = operation.check_response(404, {}, {"detail": "no"})
    assert wrong.path == "body.error"
    (wrong,) = operation.check_response(500, {}, "Internal Server Error")
    assert str(wrong) == "'body' is the string 'Internal Server Error'; it must be an object."


def test_an_error_may_come_without_a_body_as_recordings_have_it():
    assert found("GET", f"{WORKSPACE}/computes/gpu").check_response(404, {}, None) == []


def test_a_status_that_is_not_declared_is_told():
    (wrong,) = found("GET", f"{WORKSPACE}/computes/gpu").check_response(202, {}, {})

    assert str(wrong) == "'status' is 202; the declared ones are 200."


def test_the_identity_endpoint_wants_its_version_resource_and_header():
    operation = found("GET", "/msi/token", {}, service=IDENTITY)

    paths = {one.path for one in operation.check_request({}, {})}

    assert paths == {"query.api-version", "query.resource", "headers.X-IDENTITY-HEADER"}


@pytest.mark.parametrize("service", [AZURE, STORAGE, IDENTITY])
def test_every_description_can_be_read_in_every_version(service):
    for operation in described(service):
        for version in operation.versions or ("",):
            operation.schema(version)
            operation.check_request({"api-version": version}, {}, {})
        for status in operation.about.get("answers") or {}:
            operation.check_response(status, {}, {})


def test_an_operation_is_described_once():
    keys = [(one.method, one.template, str(one.about.get("when"))) for one in described(AZURE)]

    assert len(keys) == len(set(keys))
