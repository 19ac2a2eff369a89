"""Online endpoints: names, states, traffic, keys, and real scoring processes behind them."""

import os
import signal

import pytest

from tests.emulator.support.in_process import InProcess

BAD = "InvalidRequestContent"
SCRIPT = {"codeId": "azureml:score:1", "scoringScript": "score.py"}


def state(azure, path="onlineEndpoints/chat-end"):
    return azure.ask("GET", path).json()["properties"]["provisioningState"]


def code(answer):
    return answer.status_code, answer.json()["error"]["code"]


@pytest.fixture
def served(azure):
    """An endpoint whose deployment ``blue`` has all the traffic."""
    azure.finish(azure.endpoint())
    assert azure.finish(azure.deploy(azure.model()))["status"] == "Succeeded"
    azure.finish(azure.endpoint(traffic={"blue": 100}))
    return azure


# -- endpoints


def test_an_endpoint_is_creating_and_then_there(azure):
    created = azure.endpoint("chat-end")
    during = state(azure)
    assert created.json()["properties"]["scoringUri"] is None
    azure.move(90)
    found = azure.ask("GET", "onlineEndpoints/CHAT-end").json()

    assert (created.status_code, during) == (201, "Creating")
    assert found["properties"]["provisioningState"] == "Succeeded"
    assert found["properties"]["scoringUri"].startswith("https://chat-end.westeurope.inference.")


@pytest.mark.parametrize("name", ["ab", "1chat", "chat_end", "chat-", "chat--end", "x" * 33])
def test_an_invalid_name_is_refused(azure, name):
    assert code(azure.endpoint(name)) == (400, "BadArgument")
    assert azure.ask("GET", "onlineEndpoints").json()["value"] == []


def test_there_are_no_more_endpoints_than_azure_has(azure):
    for number in range(100):
        assert azure.endpoint(f"chat-{number}").status_code == 201

    assert code(azure.endpoint("chat-more")) == (400, "OutOfQuota")
    azure.move(90)
    assert azure.endpoint("chat-0").status_code == 200


def test_what_an_endpoint_was_made_with_stays(azure):
    azure.finish(azure.endpoint(properties={"team": "chat"}))
    moved = {"location": "eastus", "properties": {"authMode": "Key"}}

    answer = azure.ask("PUT", "onlineEndpoints/chat-end", json=moved)
    assert code(answer) == (400, "BadArgument")
    assert code(azure.endpoint(properties={"team": "other"})) == (400, "BadArgument")
    assert code(azure.endpoint(properties={"more": "x"})) == (400, "BadArgument")
    azure.finish(azure.endpoint(properties={"team": "chat", "more": "x"}))
    found = azure.ask("GET", "onlineEndpoints/chat-end").json()["properties"]["properties"]
    assert found["team"] == "chat" and found["more"] == "x"


def test_an_endpoint_may_be_made_with_keys_of_ones_own(azure):
    azure.finish(azure.endpoint(keys={"primaryKey": "my-own-key"}))

    assert azure.keys()["primaryKey"] == "my-own-key"
    assert azure.keys()["secondaryKey"]
    assert "keys" not in azure.ask("GET", "onlineEndpoints/chat-end").json()["properties"]


@pytest.mark.parametrize("asked", [{"publicNetworkAccess": "Disabled"}, {"compute": "k8s"}])
def test_what_an_endpoint_cannot_be_here_is_said(azure, asked):
    assert code(azure.endpoint(**asked)) == (501, "NotEmulated")


def test_endpoints_are_listed_by_tag_newest_first(azure):
    for name, tags in (("chat-a", {"flow": "ft"}), ("chat-b", {"flow": "other"}), ("chat-c", {})):
        body = {"location": "westeurope", "tags": tags, "properties": {"authMode": "Key"}}
        azure.finish(azure.ask("PUT", f"onlineEndpoints/{name}", json=body))

    def names(query):
        return [one["name"] for one in azure.ask("GET", f"onlineEndpoints{query}").json()["value"]]

    assert names("") == ["chat-c", "chat-b", "chat-a"]
    assert names("?tags=flow") == ["chat-b", "chat-a"]
    assert names("?tags=flow=ft") == ["chat-a"]


def test_an_endpoint_that_is_changing_refuses_another_change(azure):
    azure.endpoint()
    assert code(azure.endpoint()) == (409, "Conflict")
    assert code(azure.ask("DELETE", "onlineEndpoints/chat-end")) == (409, "Conflict")
    azure.move(90)
    azure.ask("DELETE", "onlineEndpoints/chat-end")

    assert state(azure) == "Deleting"
    assert code(azure.endpoint()) == (409, "Conflict")


def test_deleting_what_is_gone_is_success(azure):
    assert azure.ask("DELETE", "onlineEndpoints/chat-end").status_code == 204
    azure.finish(azure.endpoint())
    azure.finish(azure.ask("DELETE", "onlineEndpoints/chat-end"))

    assert azure.ask("GET", "onlineEndpoints/chat-end").status_code == 404
    assert azure.ask("DELETE", "onlineEndpoints/chat-end").status_code == 204


# -- deployments


def test_a_deployment_serves_the_registered_model(served):
    answer = served.score({"hello": 1})

    assert answer.status_code == 200, answer.text
    assert answer.json() == {"model": "first", "asked": {"hello": 1}}
    assert answer.headers["azureml-model-deployment"] == "blue"


def test_a_deployment_is_creating_for_minutes(azure):
    azure.finish(azure.endpoint())
    azure.deploy(azure.model())
    azure.move(479)
    path = "onlineEndpoints/chat-end/deployments/blue"

    azure.until(lambda: azure.emulator.serving.scorers.port("chat-end/blue"))
    assert state(azure, path) == "Creating"
    azure.move(1)
    azure.until(lambda: state(azure, path) == "Succeeded")
    assert azure.emulator.processes.alive() == ["score chat-end/blue"]


def test_a_put_of_an_existing_deployment_updates_it(served):
    second = served.model(version="2", text="second")
    updated = served.deploy(second)
    served.finish(updated)

    assert updated.status_code == 200
    assert served.score({}).json()["model"] == "second"
    assert served.emulator.processes.alive() == ["score chat-end/blue"]


def test_what_served_before_an_update_serves_until_the_new_model_is_there(served):
    updated = served.deploy(served.model(version="2", text="second"))
    during = served.score({}).json()["model"]
    served.finish(updated)

    assert (during, served.score({}).json()["model"]) == ("first", "second")


def test_what_served_before_a_failed_update_goes_on(served):
    ended = served.finish(served.deploy(served.model(version="2", text="broken")))

    assert ended["status"] == "Failed"
    assert served.score({}).json()["model"] == "first"
    assert served.emulator.processes.alive() == ["score chat-end/blue"]


def test_a_scorer_that_cannot_load_fails_the_deployment_and_leaves_its_log(azure):
    azure.finish(azure.endpoint())
    ended = azure.finish(azure.deploy(azure.model(text="broken")))
    path = "onlineEndpoints/chat-end/deployments/blue"
    log = azure.ask("POST", path + "/getLogs", json={"tail": 5}).json()["content"]

    assert (ended["status"], ended["error"]["code"]) == ("Failed", "ResourceNotReady")
    assert state(azure, path) == "Failed"
    assert "the weights cannot be read" in log
    assert azure.emulator.processes.alive() == []


def test_a_failed_deployment_is_replaced_under_its_own_name(azure):
    azure.finish(azure.endpoint())
    azure.emulator.faults.add({"kind": "deployment_fails", "message": "no capacity today"})
    failed = azure.finish(azure.deploy(azure.model()))
    again = azure.finish(azure.deploy(f"{azure.config.workspace_id}/models/chat/versions/1"))

    assert failed["error"] == {"code": "OutOfCapacity", "message": "no capacity today"}
    assert again["status"] == "Succeeded"


def test_a_crash_while_starting_fails_the_deployment(azure):
    azure.finish(azure.endpoint())
    azure.emulator.faults.add({"kind": "scorer_crashes", "message": "out of memory"})
    ended = azure.finish(azure.deploy(azure.model()))
    path = "onlineEndpoints/chat-end/deployments/blue/getLogs"

    assert ended["error"]["code"] == "ResourceNotReady"
    assert "out of memory" in azure.ask("POST", path, json={}).json()["content"]


@pytest.mark.parametrize(
    "wrong",
    [
        {"instanceType": "Standard_Nonsense"},
        {"requestSettings": {"requestTimeout": "PT4M"}},
        {"requestSettings": {"requestTimeout": "PT0S"}},
        {"scaleSettings": {"scaleType": "TargetUtilization", "maxInstances": 2}},
        {"capacity": 0},
        {"capacity": 51},
        {"codeConfiguration": SCRIPT},  # without an environment
        {"codeConfiguration": {"scoringScript": "score.py"}, "environmentId": "azureml:e:1"},
    ],
)
def test_a_deployment_that_azure_would_refuse_is_refused_at_once(azure, wrong):
    azure.finish(azure.endpoint())

    assert code(azure.deploy(azure.model(), **wrong)) == (400, "BadArgument")
    assert azure.ask("GET", "onlineEndpoints/chat-end/deployments").json()["value"] == []


@pytest.mark.parametrize(
    "asked",
    [
        {"environmentId": "azureml:mine:1"},
        {"codeConfiguration": SCRIPT, "environmentId": "azureml://registries/azureml/e"},
        {"modelMountPath": "/models"},
        {"dataCollector": {"collections": {}}},
        {"endpointComputeType": "Kubernetes"},
    ],
)
def test_what_is_not_served_here_is_said_and_not_dropped(azure, asked):
    azure.finish(azure.endpoint())
    answer = azure.deploy(azure.model(), **asked)

    assert code(answer) == (501, "NotEmulated")
    assert azure.ask("GET", "onlineEndpoints/chat-end/deployments").json()["value"] == []


def test_a_deployments_environment_variables_reach_its_process(azure):
    azure.finish(azure.endpoint())
    azure.finish(azure.deploy(azure.model(), environmentVariables={"GREETING": "hello"}))

    answer = azure.score({}, **{"azureml-model-deployment": "blue"})
    assert answer.json()["greeting"] == "hello"


def test_what_a_deployment_was_made_with_stays(served):
    model = f"{served.config.workspace_id}/models/chat/versions/1"

    answer = served.deploy(model, instanceType="Standard_NC12s_v3")
    assert code(answer) == (400, "BadArgument")
    assert "'instanceType' is fixed" in answer.json()["error"]["message"]


def test_a_retired_instance_type_serves_no_new_deployment(azure):
    azure.finish(azure.endpoint())
    model = azure.model()
    azure.move(3 * 365 * 24 * 3600)

    answer = azure.deploy(model, instanceType="Standard_NC6s_v3")
    assert code(answer) == (400, "BadArgument")
    assert "was retired on 2025-09-30" in answer.json()["error"]["message"]


def test_an_endpoint_has_no_more_deployments_than_on_azure(azure):
    azure.finish(azure.endpoint())
    body = {"name": "x", "location": "westeurope", "properties": {"provisioningState": "Failed"}}
    for number in range(20):
        one = {**body, "name": f"d-{number}", "endpoint": "chat-end"}
        azure.emulator.store.put("deployment", f"chat-end/d-{number}", one)

    assert code(azure.deploy(azure.model())) == (400, "OutOfQuota")


def test_a_deployment_of_a_model_that_is_not_there_fails(azure):
    azure.finish(azure.endpoint())
    ended = azure.finish(azure.deploy(f"{azure.config.workspace_id}/models/gone/versions/1"))

    assert ended["error"]["code"] == "ModelNotFound"


def test_a_deployment_needs_its_endpoint(azure):
    assert azure.deploy("azureml:chat:1", endpoint="nowhere").status_code == 404


def test_nothing_is_deleted_under_a_deployment_that_is_coming_up(azure):
    azure.finish(azure.endpoint())
    created = azure.deploy(azure.model())
    path = "onlineEndpoints/chat-end"

    assert code(azure.ask("DELETE", path)) == (409, "Conflict")
    assert code(azure.ask("DELETE", path + "/deployments/blue")) == (409, "Conflict")
    assert code(azure.deploy("azureml:chat:1")) == (409, "Conflict")
    azure.finish(created)
    assert azure.ask("DELETE", path).status_code == 202


def test_a_deployment_with_traffic_is_not_deleted(served):
    path = "onlineEndpoints/chat-end/deployments/blue"
    assert code(served.ask("DELETE", path)) == (400, "BadArgument")
    served.finish(served.endpoint(traffic={}))
    served.finish(served.ask("DELETE", path))

    assert served.ask("GET", path).status_code == 404
    assert served.ask("DELETE", path).status_code == 204
    assert served.emulator.processes.alive() == []


def test_the_process_goes_with_its_endpoint(served):
    served.finish(served.ask("DELETE", "onlineEndpoints/chat-end"))

    assert served.emulator.processes.alive() == []
    assert served.ask("GET", "onlineEndpoints/chat-end/deployments").status_code == 404
    assert served.plain("GET", "/_emulator/summary").json()["deployments"] == []


# -- traffic and keys


def test_traffic_names_deployments_and_sums_to_a_hundred(served):
    assert code(served.endpoint(traffic={"green": 100})) == (400, "BadArgument")
    assert code(served.endpoint(traffic={"blue": 50})) == (400, "BadArgument")
    served.finish(served.deploy(served.model("other", text="green"), name="green"))
    answer = served.endpoint(traffic={"blue": 150, "green": -50})
    assert code(answer) == (400, "BadArgument")


def test_traffic_is_mirrored_to_one_idle_deployment_by_half_at_most(served):
    for name in ("green", "red"):
        served.finish(served.deploy(served.model(name, text=name), name=name))
    live = {"blue": 100}

    def mirrored(**shares):
        return served.endpoint(traffic=live, mirrorTraffic=shares)

    assert code(mirrored(green=51)) == (400, "BadArgument")
    assert code(mirrored(green=10, red=10)) == (400, "BadArgument")
    assert code(mirrored(blue=10)) == (400, "BadArgument")
    assert code(mirrored(nowhere=10)) == (400, "BadArgument")
    assert mirrored(green=50).status_code == 200


def test_a_mirrored_request_is_sent_to_the_shadow_and_answered_by_the_other(served):
    served.finish(served.deploy(served.model("other", text="green"), name="green"))
    served.finish(served.endpoint(traffic={"blue": 100}, mirrorTraffic={"green": 50}))
    before = shadowed(served)

    answers = {served.score({"seen": "here"}).json()["model"] for _ in range(60)}
    served.until(lambda: shadowed(served) > before)

    assert answers == {"first"}
    assert 5 < shadowed(served) < 55


def test_a_request_that_names_its_deployment_is_not_mirrored(served):
    served.finish(served.deploy(served.model("other", text="green"), name="green"))
    served.finish(served.endpoint(traffic={"blue": 100}, mirrorTraffic={"green": 50}))

    for _ in range(30):
        served.score({}, **{"azureml-model-deployment": "blue"})

    assert shadowed(served) == 0


def test_a_shadow_that_crashes_is_not_seen_by_who_asked(served):
    served.finish(served.deploy(served.model("other", text="green"), name="green"))
    served.finish(served.endpoint(traffic={"blue": 100}, mirrorTraffic={"green": 50}))
    fault = {"kind": "scorer_crashes", "step": "request:green", "times": 0}
    assert served.plain("POST", "/_emulator/faults", json=fault).is_success

    assert {served.score({}).status_code for _ in range(40)} == {200}


def shadowed(azure):
    """How many requests the scorer of ``green`` has answered."""
    log = azure.emulator.serving.scorers.log_path("chat-end/green")
    return log.read_text().count("POST /score")


def test_the_header_chooses_a_deployment_without_traffic(served):
    served.finish(served.deploy(served.model("other", text="green"), name="green"))
    chosen = served.score({}, **{"azureml-model-deployment": "green"})

    assert chosen.json()["model"] == "green"
    assert {served.score({}).json()["model"] for _ in range(5)} == {"first"}
    assert served.score({}, **{"azureml-model-deployment": "red"}).status_code == 404


def test_traffic_is_shared_by_its_percentages(served):
    served.finish(served.deploy(served.model("other", text="green"), name="green"))
    served.finish(served.endpoint(traffic={"blue": 50, "green": 50}))

    assert {served.score({}).json()["model"] for _ in range(60)} == {"first", "green"}


def test_an_endpoint_without_traffic_says_so(azure):
    azure.finish(azure.endpoint())

    assert azure.score({}).status_code == 404


def test_a_wrong_key_is_refused(served):
    assert served.score({}, key="wrong").status_code == 401
    assert served.score({}, Authorization="").status_code == 401


def test_a_regenerated_key_replaces_the_old_one(served):
    before = served.keys()
    path = "onlineEndpoints/chat-end/regenerateKeys"
    assert served.ask("POST", path, json={"keyType": "Primary"}).status_code == 200
    after = served.keys()

    assert served.score({}, key=before["primaryKey"]).status_code == 401
    assert served.score({}, key=after["primaryKey"]).status_code == 200
    assert after["secondaryKey"] == before["secondaryKey"]
    assert code(served.ask("POST", path, json={"keyType": "third"})) == (400, BAD)


# -- when things go wrong while it serves


def test_an_answer_that_takes_too_long_is_408(azure):
    azure.finish(azure.endpoint())
    azure.finish(azure.deploy(azure.model(), requestSettings={"requestTimeout": "PT0.2S"}))
    azure.finish(azure.endpoint(traffic={"blue": 100}))

    assert azure.score({"sleep": 2}).status_code == 408


def test_a_scorer_that_dies_is_started_again(served):
    (running,) = served.emulator.serving.scorers._running.values()
    os.kill(running.pid, signal.SIGKILL)
    served.until(lambda: not running.running)
    down = served.score({})
    served.move(10)
    served.until(lambda: served.score({}).status_code == 200)

    assert down.status_code == 503
    assert state(served, "onlineEndpoints/chat-end/deployments/blue") == "Succeeded"


def test_a_request_can_be_made_to_crash_the_scorer(served):
    served.emulator.faults.add({"kind": "scorer_crashes", "step": "request"})

    assert served.score({}).status_code in (502, 503)
    served.move(10)
    served.until(lambda: served.score({}).status_code == 200)


def test_deployments_that_were_up_serve_again_after_a_restart(tmp_path):
    first = InProcess(tmp_path / "state")
    first.finish(first.endpoint())
    first.finish(first.deploy(first.model()))
    first.finish(first.endpoint(traffic={"blue": 100}))
    first.close()
    second = InProcess(tmp_path / "state")
    second.until(lambda: second.score({}).status_code == 200)
    answer = second.score({})
    second.close()

    assert answer.json()["model"] == "first"


def test_a_deployment_whose_model_is_gone_after_a_restart_is_failed(tmp_path):
    first = InProcess(tmp_path / "state")
    first.finish(first.endpoint())
    first.finish(first.deploy(first.model()))
    first.close()
    (tmp_path / "state/blobs/azureml-blobstore/models/chat-1/MLmodel").unlink()
    second = InProcess(tmp_path / "state")
    path = "onlineEndpoints/chat-end/deployments/blue"
    second.until(lambda: state(second, path) == "Failed")
    second.close()
