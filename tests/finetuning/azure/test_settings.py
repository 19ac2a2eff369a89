"""Where the connection comes from, and what is said when it is not there."""

from __future__ import annotations

import json
import pickle
from pathlib import Path

import pytest

from finetuning.azure.settings import CONFIG_PLACES, Settings, load_settings
from finetuning.errors import SettingsError

NAMES = [str(field.alias) for field in Settings.model_fields.values()]
CONFIG = {"subscription_id": "s-file", "resource_group": "g-file", "workspace_name": "w-file"}


@pytest.fixture(autouse=True)
def bare_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in NAMES:
        monkeypatch.delenv(name, raising=False)


def test_the_environment_goes_before_the_file_and_the_file_before_the_block(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "config.json").write_text(json.dumps(CONFIG))
    monkeypatch.setenv("AZURE_WORKSPACE_NAME", "w-env")
    block = {"resource_group": "g-block", "registry_name": "r-block"}

    found = load_settings(block, folder=tmp_path)

    assert found.workspace_name == "w-env"
    assert found.resource_group == "g-file"
    assert found.registry_name == "r-block"


@pytest.mark.parametrize("place", CONFIG_PLACES)
def test_config_json_is_found_where_azure_puts_it_also_from_below(
    tmp_path: Path, place: str
) -> None:
    file = tmp_path / place
    file.parent.mkdir(exist_ok=True)
    file.write_text(json.dumps(CONFIG))
    below = tmp_path / "a" / "b"
    below.mkdir(parents=True)

    assert load_settings(folder=below).subscription_id == "s-file"


def test_what_is_missing_is_named_with_the_three_ways_to_set_it(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps({"subscription_id": "s"}))

    with pytest.raises(SettingsError) as error:
        load_settings(folder=tmp_path)

    text = str(error.value)
    assert "AZURE_RESOURCE_GROUP" in text
    assert "AZURE_WORKSPACE_NAME" in text
    assert "AZURE_SUBSCRIPTION_ID" not in text
    assert "config.json" in text
    assert "block" in text


@pytest.mark.parametrize("content", ["{", "[]", '"text"'])
def test_a_config_json_that_is_none_is_named(tmp_path: Path, content: str) -> None:
    (tmp_path / "config.json").write_text(content)

    with pytest.raises(SettingsError, match=r"config\.json"):
        load_settings(folder=tmp_path)


def test_an_empty_variable_is_a_missing_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "config.json").write_text(json.dumps(CONFIG))
    monkeypatch.setenv("AZURE_WORKSPACE_NAME", "")

    assert load_settings(folder=tmp_path).workspace_name == "w-file"


def test_a_secret_never_shows_in_a_text_and_survives_a_pickle() -> None:
    credential = {
        "kind": "service_principal",
        "tenant_id": "t",
        "client_id": "c",
        "client_secret": "hunter2",
    }
    found = load_settings({**CONFIG, "credential": credential})

    assert "hunter2" not in f"{found!r} {found} {found.model_dump_json()}"
    secret = pickle.loads(pickle.dumps(found)).credential.client_secret
    assert secret.get_secret_value() == "hunter2"


def test_equal_settings_are_one_key_and_cannot_be_changed() -> None:
    first, second = load_settings(CONFIG), load_settings(CONFIG)

    assert hash(first) == hash(second)
    with pytest.raises(ValueError, match="frozen"):
        first.workspace_name = "other"  # type: ignore[misc]
