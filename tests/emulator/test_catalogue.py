"""The catalogue: every kind of card, the component as published, sizes with their quota."""

from __future__ import annotations

import ast
import json
from datetime import UTC, date, datetime

import pytest
import yaml

from emulator.catalogue import OF_AZURE, Registry, load_catalogue

TODAY = date(2026, 8, 1)
NOW = datetime(2026, 8, 1, tzinfo=UTC).timestamp()
CATALOGUE = load_catalogue(TODAY)
AZUREML = CATALOGUE.registry("azureml")


def newest(name: str, registry: str = "azureml") -> dict[str, object]:
    versions = [one for one in CATALOGUE.registry(registry).models if one["name"] == name]
    found: dict[str, object] = max(versions, key=lambda one: str(one["created"]))["properties"]
    return found


def test_the_default_model_is_live_and_recommends_a_size_that_is_offered_and_lives() -> None:
    card = newest("Phi-4")
    metadata = card["system_metadata"]

    assert isinstance(metadata, dict)
    first = metadata["SKU"]["finetuneRecommendedSkus"][0]
    assert CATALOGUE.vm_size(first) and CATALOGUE.retired(first, NOW) is None
    assert "deprecation" not in metadata and card["isArchived"] is False


def test_every_card_of_phi_3_is_past_its_retirement() -> None:
    cards = [one for one in AZUREML.models if one["name"].startswith("Phi-3")]

    assert len(cards) == 5
    for card in cards:
        assert card["properties"]["tags"]["FinetuneRetirementDate"] < TODAY.isoformat()


def test_a_size_retires_on_its_familys_day_and_low_priority_on_its_own() -> None:
    def at(year: int, month: int, day: int) -> float:
        return datetime(year, month, day, tzinfo=UTC).timestamp()

    assert CATALOGUE.retired("standard_nc6s_v3", at(2025, 9, 29)) is None
    assert CATALOGUE.retired("standard_nc6s_v3", at(2025, 9, 30)) == date(2025, 9, 30)
    assert CATALOGUE.retired("Standard_NC24ads_A100_v4", at(2030, 1, 1)) is None
    assert CATALOGUE.low_priority_retired(at(2026, 3, 30)) is None
    assert CATALOGUE.low_priority_retired(at(2026, 3, 31)) == date(2026, 3, 31)


def test_cards_keep_their_facts_as_python_text_as_json_text_and_as_metadata() -> None:
    python, as_json = newest("community-retiring-model"), newest("Phi-4-mini-instruct")

    assert isinstance(python["tags"], dict) and isinstance(as_json["tags"], dict)
    assert "'" in python["tags"]["model_specific_defaults"]
    assert json.loads(as_json["tags"]["model_specific_defaults"])["precision"] == 16
    assert "system_metadata" in newest("Phi-4")


def test_dates_are_counted_from_today() -> None:
    tags = newest("community-retiring-model")["tags"]

    assert isinstance(tags, dict)
    assert tags["FinetuneRetirementDate"] == "2026-09-30"


@pytest.mark.parametrize("registry", CATALOGUE.registries, ids=lambda one: one.name)
def test_no_version_of_a_model_is_there_twice(registry: Registry) -> None:
    keys = [(one["name"], one["version"]) for one in registry.models]

    assert len(set(keys)) == len(keys)


@pytest.mark.parametrize("registry", CATALOGUE.registries, ids=lambda one: one.name)
def test_what_a_registry_has_names_that_registry(registry: Registry) -> None:
    addresses = [one["properties"]["modelUri"] for one in registry.models]
    for component in registry.components:
        steps = component["properties"]["componentSpec"]["jobs"].values()
        addresses += [step["componentId"] for step in steps]

    assert {address.split("/")[3] for address in addresses} == {registry.name}


def test_a_model_that_is_no_mlflow_model_has_no_flavours() -> None:
    card = newest("gpt-oss-120b", "azureml-openai-oss")

    assert (card["modelType"], card["flavors"]) == ("custom_model", {})


def test_the_registries_that_are_carried_are_azures_and_no_other() -> None:
    carried = {one.name for one in CATALOGUE.registries}

    assert carried >= {"azureml", "azureml-openai-oss"}
    assert not carried & set(CATALOGUE.not_carried)
    assert carried <= set(yaml.safe_load(OF_AZURE.read_text(encoding="utf-8")))


def test_the_component_is_whole() -> None:
    spec = AZUREML.components[0]["properties"]["componentSpec"]

    assert len(spec["inputs"]) == 69
    assert len(spec["jobs"]) == 5
    taken = {
        binding["value"].removeprefix("${{parent.inputs.").removesuffix("}}")
        for job in spec["jobs"].values()
        for binding in job["inputs"].values()
        if binding["value"].startswith("${{parent.inputs.")
    }
    assert taken <= set(spec["inputs"])


def test_every_size_of_an_allow_list_is_offered_and_its_family_has_a_quota() -> None:
    offered = {one["name"]: one for one in CATALOGUE.vm_sizes}
    for model in AZUREML.models:
        text = model["properties"]["tags"].get("finetune_compute_allow_list", "[]")
        named = ast.literal_eval(text) if text.endswith("]") else []

        assert set(named) <= set(offered)
    assert {one["family"] for one in offered.values()} <= set(CATALOGUE.quotas)


def test_a_catalogue_is_nobodys_to_change() -> None:
    load_catalogue(TODAY).registry("azureml").components[0]["properties"]["componentSpec"][
        "inputs"
    ].clear()

    assert (
        len(
            load_catalogue(TODAY)
            .registry("azureml")
            .components[0]["properties"]["componentSpec"]["inputs"]
        )
        == 69
    )
