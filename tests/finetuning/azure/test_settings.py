"""Where the connection comes from, and what is said when it is not there."""

from __future__ import annotations

import json
import pickle
from pathlib import Path

import pytest

from finetuning.azure.settings import (
    CONFIG_PLACES,
    ENV_FILE,
    Settings,
    load_settings,
    read_env_file,
)
from finetuning.errors import SettingsError

NAMES = [str(field.alias) for field in Settings.model_fields.values()]
CONFIG = {"subscription_id": "s-file", "resource_group": "g-file", "workspace_name": "w-file"}


@pytest.fixture(autouse=True)
def bare_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [*NAMES, ENV_FILE]:
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


def test_what_is_missing_is_named_with_the_four_ways_to_set_it(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps({"subscription_id": "s"}))

    with pytest.raises(SettingsError) as error:
        load_settings(folder=tmp_path)

    text = str(error.value)
    assert "AZURE_RESOURCE_GROUP" in text
    assert "AZURE_WORKSPACE_NAME" in text
    assert "AZURE_SUBSCRIPTION_ID" not in text
    assert ".env" in text
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


def write_env(folder: Path, *lines: str, name: str = ".env") -> Path:
    file = folder / name
    file.write_text("\n".join(lines))
    return file


def test_the_env_file_goes_below_the_environment_and_above_config_json(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "config.json").write_text(json.dumps(CONFIG))
    write_env(tmp_path, "AZURE_RESOURCE_GROUP=g-env-file", "AZURE_WORKSPACE_NAME=w-env-file")
    monkeypatch.setenv("AZURE_WORKSPACE_NAME", "w-env")

    found = load_settings({"registry_name": "r-block"}, folder=tmp_path)

    assert found.workspace_name == "w-env"
    assert found.resource_group == "g-env-file"
    assert found.subscription_id == "s-file"
    assert found.registry_name == "r-block"


def test_an_empty_line_of_the_env_file_is_a_missing_one(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps(CONFIG))
    write_env(tmp_path, "AZURE_WORKSPACE_NAME=", 'FINETUNE_CREDENTIAL={"kind": "managed_identity"}')

    found = load_settings(folder=tmp_path)

    assert (found.workspace_name, found.credential.kind) == ("w-file", "managed_identity")


def test_variables_of_other_libraries_are_no_settings_and_are_kept(tmp_path: Path) -> None:
    write_env(tmp_path, "AZURE_CLIENT_ID=c", "HF_ENDPOINT=h", "AZUREML_RUN_TOKEN=t", "EMPTY=")

    assert read_env_file(tmp_path) == {
        "AZURE_CLIENT_ID": "c",
        "HF_ENDPOINT": "h",
        "AZUREML_RUN_TOKEN": "t",
    }


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("FINETUNE_CREDENTAIL={}", "Did you mean FINETUNE_CREDENTIAL?"),
        ("FINETUNE_EVENT_KEY=x", "Did you mean FINETUNE_EVENTS_KEY?"),
        ("AZUREML_CURENT_CLOUD=x", "Did you mean AZUREML_CURRENT_CLOUD?"),
        ("FINETUNE_SOMETHING=x", "FINETUNE_SOMETHING is not a setting. See .env.example"),
    ],
)
def test_a_misspelt_setting_is_told_with_the_nearest_name(
    tmp_path: Path, line: str, said: str
) -> None:
    write_env(tmp_path, line)

    with pytest.raises(SettingsError) as error:
        load_settings(CONFIG, folder=tmp_path)

    assert said in str(error.value)
    assert str(tmp_path / ".env") in str(error.value)


def test_an_env_file_that_is_no_text_is_named(tmp_path: Path) -> None:
    (tmp_path / ".env").write_bytes(b"AZURE_WORKSPACE_NAME=\xff\xfe")

    with pytest.raises(SettingsError, match=r"\.env is not UTF-8 text"):
        load_settings(CONFIG, folder=tmp_path)


def test_another_file_can_be_named_and_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_env(tmp_path, "AZURE_WORKSPACE_NAME=w-first")
    other = write_env(tmp_path, "AZURE_WORKSPACE_NAME=w-second", name="second.env")

    names = []
    for file in (".env", str(other), "/dev/null"):
        monkeypatch.setenv(ENV_FILE, file)
        names.append(load_settings(CONFIG, folder=tmp_path).workspace_name)

    assert names == ["w-first", "w-second", "w-file"]
    monkeypatch.setenv(ENV_FILE, "missing.env")
    with pytest.raises(SettingsError, match="FINETUNE_ENV_FILE names"):
        load_settings(CONFIG, folder=tmp_path)


@pytest.mark.parametrize("value", ['{"client_secret": "hunter2', '{"client_secret": ["hunter2"]}'])
def test_a_wrong_value_is_named_and_not_shown(
    value: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FINETUNE_CREDENTIAL", value)

    with pytest.raises(SettingsError, match="FINETUNE_CREDENTIAL") as error:
        load_settings(CONFIG, folder=tmp_path)

    assert "hunter2" not in str(error.value)
    assert "lacks" not in str(error.value)
