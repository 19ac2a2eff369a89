"""The registry: where it is, its models and components, read only."""

import pytest


def discovered(azure, name):
    place = f"/registrymanagement/v1.0/registries/{name}/discovery"
    return azure.at(azure.config.api_host, "GET", place, headers={"Authorization": None})


def opened(azure, name):
    """A function that reads below a registry, at the place that discovery tells."""
    found = discovered(azure, name).json()
    start = f"{found['primaryRegionResourceProviderUri']}mferp/managementfrontend/subscriptions/"
    start += f"{found['subscriptionId']}/resourceGroups/{found['resourceGroup']}"
    start += f"/providers/Microsoft.MachineLearningServices/registries/{found['registryName']}"
    return lambda path: azure.at("", "GET", start + path)


def below(azure, name, path):
    """A read below a registry at the management host, which needs no discovery."""
    mine = azure.config.identity
    group = f"/subscriptions/{mine.subscription}/resourceGroups/{mine.registry_group}"
    place = f"{group}/providers/Microsoft.MachineLearningServices/registries/{name}{path}"
    return azure.ask("GET", place)


@pytest.fixture
def registry(azure):
    return opened(azure, "azureml")


def created(answer):
    return [one["systemData"]["createdAt"] for one in answer.json()["value"]]


@pytest.mark.parametrize("path", ["", "/models", "/models/gpt-9/versions/1", "/components/x"])
def test_an_unknown_registry_is_not_found(azure, path):
    for answer in (discovered(azure, "private"), below(azure, "private", path)):
        assert (answer.status_code, answer.json()["error"]["code"]) == (404, "RegistryNotFound")


@pytest.mark.parametrize("path", ["", "/models", "/models/Llama/versions/1", "/components/x"])
def test_a_registry_that_azure_has_and_the_emulator_has_not_is_said(azure, path):
    for answer in (discovered(azure, "azureml-meta"), below(azure, "Azureml-Meta", path)):
        error = answer.json()["error"]

        assert (answer.status_code, error["code"]) == (501, "NotEmulated")
        assert "azureml-openai-oss" in error["message"]


def test_every_registry_that_is_carried_is_discovered_under_its_own_name(azure):
    for one in azure.emulator.catalogue.registries:
        found = discovered(azure, one.name.upper()).json()
        shown = below(azure, one.name, "").json()

        assert found["registryName"] == shown["name"] == one.name
        assert one.name in shown["properties"]["discoveryUrl"]


def test_a_registry_has_its_own_models_and_no_others(azure, registry):
    other = opened(azure, "azureml-openai-oss")
    (card,) = other("/models/gpt-oss-120b/versions").json()["value"]

    assert card["properties"]["modelType"] == "custom_model"
    assert card["id"] == "azureml://registries/azureml-openai-oss/models/gpt-oss-120b/versions/4"
    assert registry("/models/gpt-oss-120b").status_code == 404
    assert other("/models/Phi-4").status_code == 404
    assert other("/components").json() == {"value": []}


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
