"""Long-running operations: accepted at once, done in time, found again after a kill."""

import uuid

from tests.emulator.support.in_process import InProcess


def test_an_operation_is_in_progress_until_its_time_has_passed(azure):
    answer = azure.cluster("gpu")

    assert azure.operation(answer)["status"] == "InProgress"
    azure.move(59)
    assert azure.operation(answer)["status"] == "InProgress"
    azure.move(1)
    assert azure.operation(answer)["status"] == "Succeeded"


def test_the_client_is_told_how_often_to_look(azure, tmp_path):
    fast = InProcess(tmp_path / "fast", profile="fast")
    quick, slow = fast.cluster("gpu"), azure.cluster("gpu")
    fast.close()

    assert quick.headers["x-ms-retry-after-ms"] == "50"
    assert slow.headers["x-ms-retry-after-ms"] == "10000"


def test_the_result_of_an_operation_is_202_and_then_204(azure):
    azure.finish(azure.endpoint())
    place = azure.ask("DELETE", "onlineEndpoints/chat-end").headers["Location"]

    assert azure.ask("GET", place).status_code == 202
    azure.move(120)
    assert azure.ask("GET", place).status_code == 204


def test_a_computes_operation_is_told_in_its_own_form(azure):
    created = azure.cluster("gpu")
    place = created.headers["Azure-AsyncOperation"]
    during = azure.operation(created)
    azure.move(60)

    assert "/computeOperationsStatus/" in place and place.endswith("&service=new")
    assert "Location" not in created.headers
    assert during == {"status": "InProgress", "percentComplete": 0.0}
    assert azure.operation(created) == {"status": "Succeeded", "percentComplete": 100.0}
    assert azure.cluster("gpu").status_code == 201


def test_an_endpoints_operation_has_an_arm_id_and_its_times(azure):
    created = azure.endpoint()
    during = azure.operation(created)
    azure.move(90)
    after = azure.operation(created)

    assert created.headers["Location"].partition("?")[0].endswith("/onlineEndpoints/chat-end")
    assert created.headers["x-ms-async-operation-timeout"] == "PT30M"
    assert during["id"].startswith("/subscriptions/") and during["id"].endswith(during["name"])
    assert during["name"].startswith("oeidp:")
    assert (during["status"], during["percentComplete"]) == ("Updating", 0.0)
    assert "endTime" not in during
    assert (after["status"], after["percentComplete"]) == ("Succeeded", 100.0)
    assert after["startTime"] == "2023-11-14T22:13:20.000000+00:00"
    assert after["endTime"] == "2023-11-14T22:14:50.000000+00:00"


def test_an_endpoints_deletion_has_both_places_and_no_content(azure):
    azure.finish(azure.endpoint())
    deleted = azure.ask("DELETE", "onlineEndpoints/chat-end")

    assert (deleted.status_code, deleted.json()) == (202, None)
    assert "/mfeOperationsStatus/" in deleted.headers["Azure-AsyncOperation"]
    assert "/mfeOperationResults/" in deleted.headers["Location"]


def test_every_answer_has_ids_by_which_it_can_be_found(azure):
    mine = {"x-ms-correlation-request-id": str(uuid.uuid4())}
    one, other = azure.ask("GET", "computes", headers=mine), azure.ask("GET", "computes/none")

    assert one.headers["x-ms-correlation-request-id"] == mine["x-ms-correlation-request-id"]
    assert one.headers["x-ms-request-id"] != other.headers["x-ms-request-id"]
    assert other.headers["x-ms-routing-request-id"].startswith("WESTEUROPE:")


def test_an_unknown_operation_is_not_found(azure):
    place = azure.cluster("gpu").headers["Azure-AsyncOperation"]
    other = place.replace(place.split("/")[-1].split("?")[0], str(uuid.uuid4()))

    assert azure.ask("GET", other).status_code == 404


def test_a_deletion_asked_for_twice_does_not_take_what_was_made_in_between(azure):
    azure.finish(azure.endpoint("chat-end"))
    first = azure.ask("DELETE", "onlineEndpoints/chat-end")
    azure.move(60)
    second = azure.ask("DELETE", "onlineEndpoints/chat-end")
    azure.move(60)
    azure.until(lambda: azure.operation(first)["status"] == "Succeeded")
    azure.finish(azure.endpoint("chat-end"))

    assert azure.operation(second)["status"] == "Succeeded"
    assert azure.ask("GET", "onlineEndpoints/chat-end").status_code == 200


def test_what_was_under_way_is_finished_by_the_next_emulator_on_the_state(tmp_path):
    first = InProcess(tmp_path / "state")
    begun = first.cluster("gpu")
    first.close()
    second = InProcess(tmp_path / "state")
    before = second.operation(begun)
    after = second.finish(begun)
    state = second.ask("GET", "computes/gpu").json()["properties"]["provisioningState"]
    second.close()

    assert before["status"] == "InProgress"
    assert after["status"] == state == "Succeeded"


def test_what_was_stored_just_before_a_kill_is_not_under_way_for_good(tmp_path):
    first = InProcess(tmp_path / "state")
    paths = ("computes/gpu", "onlineEndpoints/chat-end")
    first.cluster("gpu")
    first.endpoint("chat-end")
    for operation in first.emulator.store.list("operation"):
        first.emulator.store.delete("operation", operation["id"])
    first.close()
    second = InProcess(tmp_path / "state")
    second.move(3600)
    found = [second.ask("GET", path).json()["properties"]["provisioningState"] for path in paths]
    second.close()

    assert found == ["Succeeded", "Succeeded"]


def test_an_endpoint_killed_while_it_is_deleted_takes_its_deployment_along(tmp_path):
    first = InProcess(tmp_path / "state")
    first.finish(first.endpoint())
    first.finish(first.deploy(first.model()))
    begun = first.ask("DELETE", "onlineEndpoints/chat-end")
    first.close()
    second = InProcess(tmp_path / "state")
    ended = second.finish(begun)
    summary = second.plain("GET", "/_emulator/summary").json()
    second.close()

    assert ended["status"] == "Succeeded"
    assert (summary["endpoints"], summary["deployments"], summary["processes"]) == ([], [], [])


def test_a_fault_of_the_emulators_own_ends_the_operation(azure, caplog):
    async def broken(key):
        raise ZeroDivisionError(key)

    azure.emulator.operations.verbs["compute.create"] = broken
    answer = azure.cluster("gpu")
    azure.move(1)

    assert azure.operation(answer)["status"] == "Failed"
    assert azure.operation(answer)["error"]["code"] == "InternalServerError"
    assert "ZeroDivisionError" in caplog.text
