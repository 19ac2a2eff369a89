"""Long-running operations: accepted at once, done in time, found again after a kill."""

import uuid

from tests.emulator.support.in_process import InProcess


def test_an_operation_is_in_progress_until_its_time_has_passed(azure):
    answer = azure.cluster("gpu")

    assert azure.operation(answer)["status"] == "Updating"
    azure.move(59)
    assert azure.operation(answer)["status"] == "Updating"
    azure.move(1)
    assert azure.operation(answer)["status"] == "Succeeded"


def test_the_client_is_told_how_often_to_look(azure, tmp_path):
    fast = InProcess(tmp_path / "fast", profile="fast")
    quick, slow = fast.cluster("gpu"), azure.cluster("gpu")
    fast.close()

    assert quick.headers["x-ms-retry-after-ms"] == "50"
    assert slow.headers["x-ms-retry-after-ms"] == "10000"


def test_the_result_of_an_operation_is_202_and_then_204(azure):
    azure.finish(azure.cluster("gpu"))
    place = azure.ask("DELETE", "computes/gpu").headers["Location"]

    assert azure.ask("GET", place).status_code == 202
    azure.move(60)
    assert azure.ask("GET", place).status_code == 204


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

    assert before["status"] == "Updating"
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
