"""Lists: pages that follow each other whatever happens in between, filters honoured or refused."""

import pytest

from emulator.services.jobs.records import pipeline_record


def names(answer):
    return [one["name"] for one in answer["value"]]


def endpoints(azure, *wanted):
    for name in wanted:
        azure.endpoint(name)
    azure.move(90)


def test_what_is_inserted_between_two_pages_moves_nothing(azure):
    endpoints(azure, "chat-1", "chat-2", "chat-3", "chat-4")
    first = azure.ask("GET", "onlineEndpoints?count=2").json()
    endpoints(azure, "chat-5", "chat-6")
    second = azure.ask("GET", first["nextLink"]).json()

    assert names(first) == ["chat-4", "chat-3"]
    assert names(second) == ["chat-2", "chat-1"]
    assert "nextLink" not in second


def jobs(azure, *wanted):
    for name in wanted:
        asked = {"experimentName": "exp", "jobs": {}, "jobType": "Pipeline"}
        record = pipeline_record(azure.config.workspace_id, name, asked, azure.clock.now())
        azure.emulator.jobs.put({**record, "status": "Completed", "children": [], "addresses": {}})


def test_a_page_of_jobs_is_the_same_whatever_is_submitted_in_between(azure):
    jobs(azure, "j-1", "j-2", "j-3", "j-4")
    first = azure.ask("GET", "jobs?$skip=").json()
    assert names(first) == ["j-4", "j-3", "j-2", "j-1"] and "nextLink" not in first
    jobs(azure, *(f"k-{number}" for number in range(150)))
    first = azure.ask("GET", "jobs").json()
    jobs(azure, "late")
    second = azure.ask("GET", first["nextLink"]).json()

    assert len(names(first)) == 100 and names(first)[0] == "k-149"
    assert names(second)[-4:] == ["j-4", "j-3", "j-2", "j-1"]
    assert set(names(first)) & set(names(second)) == set() and len(names(second)) == 54


def test_an_asset_is_on_one_page_whatever_versions_it_gets_in_between(azure):
    for name in ("chat-1", "chat-2", "chat-3", "chat-4"):
        azure.model(name)
    first = azure.ask("GET", "models?count=2").json()
    azure.model("chat-4", version="2")
    azure.model("chat-5")
    second = azure.ask("GET", first["nextLink"]).json()

    assert (names(first), names(second)) == (["chat-4", "chat-3"], ["chat-2", "chat-1"])
    assert names(azure.ask("GET", "models?count=2").json()) == ["chat-5", "chat-4"]


def test_a_token_of_another_list_is_refused(azure):
    endpoints(azure, "chat-1", "chat-2", "chat-3")
    token = azure.ask("GET", "onlineEndpoints?count=2").json()["nextLink"].split("skipToken=")[1]
    answer = azure.ask("GET", f"jobs?$skip={token.split('&')[0]}")

    assert answer.json()["error"]["code"] == "InvalidContinuationToken"


def test_a_page_goes_on_where_its_last_row_was_deleted(azure):
    endpoints(azure, "chat-1", "chat-2", "chat-3")
    first = azure.ask("GET", "onlineEndpoints?count=2").json()
    azure.finish(azure.ask("DELETE", "onlineEndpoints/chat-2"))

    assert names(azure.ask("GET", first["nextLink"]).json()) == ["chat-1"]


@pytest.mark.parametrize("query", ["$skip=2", "$skipToken=nonsense", "$skip=W10="])
def test_a_token_that_no_list_has_given_is_refused(azure, query):
    answer = azure.ask("GET", f"onlineEndpoints?{query}")

    assert answer.status_code == 400
    assert answer.json()["error"]["code"] == "InvalidContinuationToken"


def test_a_page_of_nothing_is_refused_and_does_not_lead_to_itself(azure):
    endpoints(azure, "chat-1", "chat-2")

    assert azure.ask("GET", "onlineEndpoints?count=0").status_code == 400


def test_endpoints_are_chosen_by_name_and_ordered(azure):
    endpoints(azure, "chat-1", "chat-2", "chat-3")
    azure.finish(azure.endpoint("chat-1"))

    def listed(query):
        return names(azure.ask("GET", f"onlineEndpoints?{query}").json())

    assert listed("name=chat-2") == ["chat-2"]
    assert listed("computeType=Kubernetes") == []
    assert listed("orderBy=CreatedAtAsc") == ["chat-1", "chat-2", "chat-3"]
    assert listed("orderBy=UpdatedAtDesc")[0] == "chat-1"


@pytest.mark.parametrize(
    ("path", "query"),
    [
        ("jobs", "assetName=x"),
        ("jobs", "scheduled=true"),
        ("onlineEndpoints", "properties=x"),
        ("models/chat/versions", "tags=x"),
        ("models/chat/versions", "$orderBy=name"),
        ("datastores", "searchText=x"),
    ],
)
def test_a_filter_that_is_not_honoured_is_said(azure, path, query):
    azure.model()
    answer = azure.ask("GET", f"{path}?{query}")

    assert (answer.status_code, answer.json()["error"]["code"]) == (501, "NotEmulated")
