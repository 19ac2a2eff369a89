"""Models and data: versions, what is fixed, where bytes come from; and bad bodies."""

import pytest


def code(answer):
    return answer.status_code, answer.json()["error"]["code"]


def output_of_job(azure, job="job-1"):
    folder = azure.emulator.storage.path("workspaceblobstore", f"azureml/{job}/trained_model")
    folder.mkdir(parents=True)
    (folder / "MLmodel").write_text("trained")
    return f"azureml://jobs/{job}/outputs/trained_model/paths/"


def put_model(azure, uri, version="1", name="chat", **properties):
    body = {"properties": {"modelUri": uri, "modelType": "mlflow_model", **properties}}
    return azure.ask("PUT", f"models/{name}/versions/{version}", json=body)


def test_a_model_keeps_the_job_that_made_it_its_tags_and_properties(azure):
    kept = {"tags": {"flow": "fine-tune"}, "properties": {"loss": "1.2"}, "description": "d"}
    made = put_model(azure, output_of_job(azure), **kept)
    found = azure.ask("GET", "models/chat/versions/1").json()["properties"]

    assert made.status_code == 201
    assert found["jobName"] == "job-1"
    assert {name: found[name] for name in kept} == kept


@pytest.mark.parametrize("below", ["", "/paths/", "/paths/deep/er"])
def test_an_address_is_answered_in_its_long_form_and_taken_in_either(azure, below):
    output_of_job(azure)
    place = azure.emulator.storage.path("workspaceblobstore", "azureml/job-1/trained_model/deep/er")
    place.mkdir(parents=True)
    given = f"azureml://jobs/job-1/outputs/trained_model{below}"
    answered = put_model(azure, given).json()["properties"]["modelUri"]
    again = put_model(azure, answered, tags={"seen": "yes"})
    short = answered.partition("/datastores/")[2]

    mine = azure.config.identity
    assert answered.startswith(
        f"azureml://subscriptions/{mine.subscription}/resourcegroups/{mine.resource_group}"
        f"/workspaces/{mine.workspace}/datastores/"
    )
    assert short.endswith(
        "paths/azureml/job-1/trained_model" + below.removeprefix("/paths").rstrip("/")
    )
    assert (again.status_code, again.json()["properties"]["modelUri"]) == (200, answered)
    moved = put_model(azure, f"azureml://datastores/{short}", version="2").json()
    assert moved["properties"]["modelUri"] == answered


def test_a_model_of_a_job_is_served_from_the_jobs_own_output(azure):
    azure.finish(azure.endpoint())
    model = put_model(azure, output_of_job(azure)).json()["id"]
    azure.finish(azure.deploy(model))

    assert azure.score({}, **{"azureml-model-deployment": "blue"}).json()["model"] == "trained"


@pytest.mark.parametrize(
    "uri",
    [
        "azureml://jobs/never/outputs/trained_model/paths/",
        "azureml://datastores/workspaceblobstore/paths/nowhere",
        "azureml://datastores/elsewhere/paths/x",
        "azureml://datastores/workspaceblobstore/paths/../../../state.db",
        "https://example.com/model",
        "",
    ],
)
def test_a_model_from_nowhere_is_refused(azure, uri):
    assert put_model(azure, uri).status_code in (400, 404)
    assert azure.ask("GET", "models").json()["value"] == []


def test_a_versions_bytes_are_fixed_and_its_tags_are_not(azure):
    uri = output_of_job(azure)
    put_model(azure, uri)
    retagged = put_model(azure, uri, tags={"stage": "best"})
    moved = put_model(azure, output_of_job(azure, "job-2"))

    assert retagged.status_code == 200
    assert code(moved) == (409, "UserError")
    found = azure.ask("GET", "models/chat/versions/1").json()["properties"]
    assert (found["tags"], found["jobName"]) == ({"stage": "best"}, "job-1")


def test_versions_are_listed_newest_first_and_counted_on(azure):
    uri = output_of_job(azure)
    for version in ("1", "2", "10", "candidate"):
        put_model(azure, uri, version)

    def names(query=""):
        found = azure.ask("GET", f"models/chat/versions{query}").json()["value"]
        return [one["name"] for one in found]

    put_model(azure, uri, "2", isArchived=True)
    container = azure.ask("GET", "models/CHAT").json()

    assert names() == ["candidate", "10", "1"]
    assert names("?$top=1") == ["candidate"]
    assert names("?listViewType=ArchivedOnly") == ["2"]
    assert names("?listViewType=All") == ["candidate", "10", "2", "1"]
    assert container["properties"]["nextVersion"] == "11"
    assert [one["name"] for one in azure.ask("GET", "models").json()["value"]] == ["chat"]


def test_a_name_that_begins_like_another_is_another(azure):
    uri = output_of_job(azure)
    put_model(azure, uri, name="chat")
    put_model(azure, uri, name="chat-2")

    assert len(azure.ask("GET", "models/chat/versions").json()["value"]) == 1
    assert len(azure.ask("GET", "models").json()["value"]) == 2


def test_a_deleted_version_is_gone_and_deleting_it_again_is_success(azure):
    put_model(azure, output_of_job(azure))

    assert azure.ask("DELETE", "models/chat/versions/1").status_code == 204
    assert azure.ask("GET", "models/chat/versions/1").status_code == 404
    assert azure.ask("GET", "models/chat").status_code == 404
    assert azure.ask("DELETE", "models/chat/versions/1").status_code == 204


@pytest.mark.parametrize(
    ("path", "told"),
    [
        ("models/-chat/versions/1", "InvalidRequestContent"),
        ("models/chat/versions/a b", "UserError"),
        (f"data/{'x' * 256}/versions/1", "InvalidRequestContent"),
    ],
)
def test_an_invalid_name_is_refused(azure, path, told):
    given = {"modelUri": output_of_job(azure), "dataUri": "x", "dataType": "uri_file"}

    assert code(azure.ask("PUT", path, json={"properties": given})) == (400, told)


@pytest.mark.parametrize("body", [b"{", b"[]", b'{"properties": 1}', b"\xff"])
@pytest.mark.parametrize(
    "path", ["computes/gpu", "onlineEndpoints/chat-end", "models/m/versions/1"]
)
def test_a_body_that_makes_no_sense_is_refused(azure, path, body):
    assert code(azure.ask("PUT", path, content=body)) == (400, "InvalidRequestContent")


def test_a_count_that_is_none_is_refused(azure):
    wrong = azure.ask("GET", "onlineEndpoints?count=many")

    assert code(wrong) == (400, "InvalidQueryParameter")
    assert wrong.json()["error"]["target"] == "query.count"


def test_the_datastores_secret_is_the_accounts_key(azure):
    found = azure.ask("GET", "datastores/workspaceblobstore").json()["properties"]
    secret = azure.ask("POST", "datastores/workspaceblobstore/listSecrets").json()

    assert (found["datastoreType"], found["accountName"]) == ("AzureBlob", azure.config.account)
    assert secret == {"secretsType": "AccountKey", "key": azure.config.identity.storage_key}
    assert len(azure.ask("GET", "datastores").json()["value"]) == 4
    assert code(azure.ask("GET", "datastores/other")) == (404, "UserError")
    (default,) = azure.ask("GET", "datastores?isDefault=true").json()["value"]
    assert default["name"] == "workspaceblobstore"
