"""The registry: where it is, its models and components, read only."""

import pytest


@pytest.fixture
def registry(azure):
    place = "/registrymanagement/v1.0/registries/azureml/discovery"
    found = azure.at(azure.config.api_host, "GET", place, headers={"Authorization": None}).json()
    start = f"{found['primaryRegionResourceProviderUri']}mferp/managementfrontend/subscriptions/"
    start += f"{found['subscriptionId']}/resourceGroups/{found['resourceGroup']}"
    start += "/providers/Microsoft.MachineLearningServices/registries/azureml"
    return lambda path: azure.at("", "GET", start + path)


def created(answer):
    return [one["systemData"]["createdAt"] for one in answer.json()["value"]]


def test_an_unknown_registry_is_not_found(azure):
    place = "/registrymanagement/v1.0/registries/private/discovery"
    answer = azure.at(azure.config.api_host, "GET", place)

    assert (answer.status_code, answer.json()["error"]["code"]) == (404, "RegistryNotFound")


def test_the_newest_version_comes_first_and_top_limits(registry):
    names = [one["name"] for one in registry("/models").json()["value"]]
    many = max(names, key=lambda name: len(registry(f"/models/{name}/versions").json()["value"]))
    newest = registry(f"/models/{many}/versions?$orderBy=createdtime desc")
    oldest = registry(f"/models/{many}/versions?$orderBy=createdtime asc")
    one = registry(f"/models/{many}/versions?$top=1").json()

    assert created(newest) == sorted(created(newest), reverse=True)
    assert created(oldest) == sorted(created(oldest))
    assert one["value"] == newest.json()["value"][:1]
    assert (
        registry(f"/models/{many}").json()["properties"]["latestVersion"]
        == (one["value"][0]["name"])
    )


def test_pages_follow_each_other_to_the_end(azure, registry):
    whole = [one["id"] for one in registry("/models").json()["value"]]
    answer = registry("/models?$top=2").json()
    seen = [one["id"] for one in answer["value"]]
    while "nextLink" in answer:
        answer = azure.at("", "GET", answer["nextLink"]).json()
        seen += [one["id"] for one in answer["value"]]

    assert len(whole) > 2
    assert seen == whole


def test_the_component_declares_its_69_inputs(registry):
    (newest,) = registry("/components/chat_completion_pipeline/versions?$top=1").json()["value"]
    spec = newest["properties"]["componentSpec"]
    again = registry(f"/components/chat_completion_pipeline/versions/{newest['name']}").json()

    assert len(spec["inputs"]) == 69
    assert again == newest


def test_what_the_registry_has_not_is_not_found(registry):
    assert registry("/models/gpt-9/versions").json() == {"value": []}
    assert registry("/models/gpt-9").status_code == 404
    assert registry("/components/chat_completion_pipeline/versions/9.9").status_code == 404
    assert registry("/environments/x/versions").status_code == 501
