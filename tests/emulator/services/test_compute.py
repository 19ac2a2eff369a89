"""Clusters: provisioning, quota, what may be changed, deletion."""

import pytest


def provisioning(azure, name="gpu"):
    return azure.ask("GET", f"computes/{name}").json()["properties"]["provisioningState"]


def code(answer):
    return answer.status_code, answer.json()["error"]["code"]


def test_a_cluster_is_creating_and_then_there(azure):
    created = azure.cluster("gpu", vmPriority="Dedicated")
    during = provisioning(azure)
    azure.finish(created)

    assert created.status_code == 201
    assert (during, provisioning(azure)) == ("Creating", "Succeeded")
    inner = azure.ask("GET", "computes/GPU").json()["properties"]["properties"]
    assert (inner["vmSize"], inner["currentNodeCount"]) == ("Standard_NC6s_v3", 0)
    assert [one["name"] for one in azure.ask("GET", "computes").json()["value"]] == ["gpu"]


def test_tags_are_kept_and_the_creation_time_too(azure):
    azure.finish(azure.cluster("gpu"))
    before = azure.ask("GET", "computes/gpu").json()
    azure.move(100)
    body = {"tags": {"owner": "me"}, "properties": before["properties"]}
    azure.finish(azure.ask("PUT", "computes/gpu", json=body))
    after = azure.ask("GET", "computes/gpu").json()

    assert after["tags"] == {"owner": "me"}
    assert after["systemData"]["createdAt"] == before["systemData"]["createdAt"]
    assert after["systemData"]["lastModifiedAt"] > before["systemData"]["lastModifiedAt"]


def test_a_missing_cluster_is_not_found(azure):
    assert code(azure.ask("GET", "computes/nowhere")) == (404, "ResourceNotFound")
    assert azure.drop_cluster("nowhere").status_code == 204
    assert azure.ask("POST", "computes/nowhere/listNodes").status_code == 404


@pytest.mark.parametrize("name", ["g", "1gpu", "gpu_", "x" * 25, "gpu-1"])
def test_an_invalid_name_is_refused(azure, name):
    assert code(azure.cluster(name)) == (400, "InvalidRequestContent")


def test_an_unknown_size_is_refused(azure):
    assert code(azure.cluster("gpu", vmSize="Standard_Nonsense")) == (400, "InvalidVmSize")
    assert azure.ask("GET", "computes/gpu").status_code == 404


def test_what_is_retired_cannot_be_made_and_what_was_made_before_can_be_changed(azure):
    azure.finish(azure.cluster("old"))
    azure.move(3 * 365 * 24 * 3600)  # from 2023 past September 2025 and March 2026

    for inner, said in (
        ({}, "retired on 2025-09-30"),
        ({"vmSize": "Standard_NC4as_T4_v3", "vmPriority": "LowPriority"}, "retired on 2026-03-31"),
    ):
        answer = azure.cluster("new", **inner)
        assert answer.status_code == 400 and said in answer.json()["error"]["message"]
    assert azure.ask("GET", "computes/new").status_code == 404
    assert azure.cluster("old", scaleSettings={"maxNodeCount": 2}).status_code == 201


def test_a_kind_that_is_not_emulated_is_said(azure):
    body = {"properties": {"computeType": "Kubernetes"}}

    assert code(azure.ask("PUT", "computes/gpu", json=body)) == (501, "NotEmulated")


def test_size_and_priority_stay_as_they_were_made(azure):
    azure.finish(azure.cluster("gpu"))

    assert code(azure.cluster("gpu", vmSize="Standard_NC12s_v3")) == (400, "UserError")
    assert code(azure.cluster("gpu", vmPriority="LowPriority")) == (400, "UserError")
    assert azure.cluster("gpu", scaleSettings={"maxNodeCount": 2}).status_code == 201


def test_what_a_cluster_was_made_with_stays(azure):
    azure.finish(azure.cluster("gpu"))
    inner = azure.ask("GET", "computes/gpu").json()["properties"]["properties"]

    def put(location, **changed):
        properties = {"computeType": "AmlCompute", "properties": inner, **changed}
        body = {"location": location, "properties": properties}
        return azure.ask("PUT", "computes/gpu", json=body)

    assert code(put("eastus")) == (400, "UserError")
    assert code(put("westeurope", computeLocation="eastus")) == (400, "UserError")
    assert put("westeurope").status_code == 201


@pytest.mark.parametrize(
    "scale",
    [
        {"maxNodeCount": 101},
        {"maxNodeCount": -1},
        {"maxNodeCount": 2, "minNodeCount": 3},
        {"maxNodeCount": 2, "minNodeCount": -1},
    ],
)
def test_a_cluster_has_no_more_nodes_than_on_azure(azure, scale):
    assert code(azure.cluster("gpu", scaleSettings=scale)) == (400, "UserError")
    assert azure.ask("GET", "computes").json()["value"] == []


@pytest.mark.parametrize(
    "asked",
    [
        {"subnet": {"id": "/subscriptions/s/subnets/one"}},
        {"userAccountCredentials": {"adminUserName": "me", "adminUserPassword": "secret"}},
        {"virtualMachineImage": {"id": "/images/mine"}},
        {"isolatedNetwork": True},
        {"osType": "Windows"},
    ],
)
def test_what_a_process_cannot_be_is_said_and_not_dropped(azure, asked):
    answer = azure.cluster("gpu", **asked)

    assert code(answer) == (501, "NotEmulated")
    assert next(iter(asked)) in answer.json()["error"]["message"]


def test_a_cluster_that_is_being_made_cannot_be_changed(azure):
    azure.cluster("gpu")

    assert code(azure.cluster("gpu")) == (409, "Conflict")


def test_more_nodes_than_the_quota_has_fail_with_the_numbers(azure):
    ended = azure.finish(azure.cluster("gpu", scaleSettings={"maxNodeCount": 100}))

    assert ended["error"]["code"] == "ClusterCoreQuotaReached"
    assert "600" in ended["error"]["message"]
    assert provisioning(azure) == "Failed"


def test_no_dedicated_quota_leaves_low_priority(azure):
    azure.emulator.faults.add({"kind": "no_dedicated_quota", "times": 0})
    dedicated = azure.finish(azure.cluster("gpu"))
    low = azure.finish(azure.cluster("cheap", vmPriority="LowPriority"))

    assert dedicated["error"]["code"] == "ClusterCoreQuotaReached"
    assert low["status"] == "Succeeded"


def test_a_failed_cluster_can_be_put_again(azure):
    azure.emulator.faults.add({"kind": "compute_fails", "message": "no nodes in this zone"})
    failed = azure.finish(azure.cluster("gpu"))
    again = azure.finish(azure.cluster("gpu"))

    assert failed["error"]["message"] == "no nodes in this zone"
    assert again["status"] == provisioning(azure) == "Succeeded"


def test_a_deleted_cluster_is_deleting_and_then_gone(azure):
    azure.finish(azure.cluster("gpu"))
    deleted = azure.drop_cluster("gpu")
    during = provisioning(azure)
    azure.finish(deleted)

    assert (deleted.status_code, during) == (202, "Deleting")
    assert azure.ask("GET", "computes/gpu").status_code == 404


def test_a_cluster_deleted_while_it_is_created_does_not_come_back(azure):
    created = azure.cluster("gpu")
    azure.finish(azure.drop_cluster("gpu"))

    assert azure.operation(created)["status"] == "Canceled"
    assert azure.ask("GET", "computes/gpu").status_code == 404
