"""Secrets: told by listSecrets and listKeys alone, and never the key to who can do with less."""

import json
from urllib.parse import parse_qs

import pytest

DATASTORE = "datastores/workspaceblobstore"


def secret(azure, **body):
    return azure.ask("POST", f"{DATASTORE}/listSecrets", json=body)


def test_an_expiring_secret_is_a_signature_for_the_container(azure):
    told = secret(azure, expirableSecret=True, expireAfterHours=2).json()
    query, host = told["sasToken"], azure.config.blob_host

    def asked(method, path, **headers):
        address = f"{path}{'&' if '?' in path else '?'}{query}"
        return azure.at(host, method, address, headers={"Authorization": None, **headers})

    place = "/azureml-blobstore/a"
    assert told["secretsType"] == "Sas" and "key" not in told
    assert parse_qs(query)["sr"] == ["c"]
    assert asked("PUT", place, **{"x-ms-blob-type": "BlockBlob"}).status_code == 201
    assert asked("GET", place).status_code == 200
    assert asked("GET", "/azureml-blobstore?restype=container&comp=list").status_code == 200
    assert asked("DELETE", "/azureml-blobstore?restype=container").status_code == 403
    assert asked("GET", "/azureml/a").status_code == 403
    azure.move(2 * 3600)
    assert asked("GET", place).status_code == 403


@pytest.mark.parametrize("body", [{}, {"expirableSecret": False}])
def test_who_does_not_ask_for_less_gets_the_key(azure, body):
    key = azure.config.identity.storage_key

    assert secret(azure, **body).json() == {"secretsType": "AccountKey", "key": key}


@pytest.mark.parametrize(
    "body", [{"expirableSecret": "yes"}, {"expirableSecret": True, "expireAfterHours": "seven"}]
)
def test_a_body_of_the_wrong_kind_is_refused(azure, body):
    answer = secret(azure, **body)

    assert (answer.status_code, answer.json()["error"]["code"]) == (400, "InvalidRequestContent")


@pytest.mark.parametrize(
    "query, ascending",
    [("orderBy=name&orderByAsc=true", True), ("orderBy=name", False), ("orderBy=Name", False)],
)
def test_datastores_are_listed_by_name_where_that_is_asked(azure, query, ascending):
    names = [one["name"] for one in azure.ask("GET", f"datastores?{query}").json()["value"]]

    assert names == sorted(names, reverse=not ascending) and len(names) == 4


def test_datastores_that_were_made_at_once_have_no_order_by_time(azure):
    listed = [
        azure.ask("GET", f"datastores?{query}").json()["value"]
        for query in ("", "orderByAsc=true", "orderBy=createdtime", "orderBy=modifiedtime")
    ]

    assert listed == [listed[0]] * 4
    assert azure.ask("GET", "datastores?orderBy=size").status_code == 501


def test_two_of_the_four_datastores_are_file_shares(azure):
    found = {
        one["name"]: one["properties"] for one in azure.ask("GET", "datastores").json()["value"]
    }
    kinds = {name: about["datastoreType"] for name, about in found.items()}
    answer = azure.ask("POST", "datastores/workspacefilestore/listSecrets",
                       json={"expirableSecret": True})  # fmt: skip

    assert kinds == {
        "workspaceblobstore": "AzureBlob", "workspaceartifactstore": "AzureBlob",
        "workspacefilestore": "AzureFile", "workspaceworkingdirectory": "AzureFile",
    }  # fmt: skip
    assert answer.status_code == 501


def test_no_secret_is_in_what_a_get_or_a_list_answers(azure):
    azure.finish(azure.endpoint())
    mine, keys = azure.config.identity, azure.keys()
    secrets = [mine.storage_key, mine.client_secret, mine.token_key, mine.identity_header]
    secrets += [keys["primaryKey"], keys["secondaryKey"]]
    for path in ("", "datastores", DATASTORE, "onlineEndpoints", "onlineEndpoints/chat-end"):
        text = json.dumps(azure.ask("GET", path).json())
        assert not [one for one in secrets if one in text], path
