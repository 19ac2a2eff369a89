"""Lists: pages that follow each other whatever happens in between, filters honoured or refused."""

import pytest


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
