"""What a program of ours needs around it: ``.env``, and a Prefect server that answers."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from prefect.settings import PREFECT_API_URL, get_current_settings, temporary_settings

from flows.lifecycle.environment import need_server, use_env_file


@pytest.fixture
def env_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The file that a program in this folder reads."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(os, "environ", os.environ.copy())
    os.environ.pop("FINETUNE_ENV_FILE")
    return tmp_path / ".env"


def test_the_variables_of_every_library_are_set_and_the_environment_wins(env_file: Path) -> None:
    env_file.write_text("AZURE_CLIENT_ID=mine\nHF_ENDPOINT=https://mirror\nFINETUNE_BLOCK=\n")
    os.environ["HF_ENDPOINT"] = "https://here"

    use_env_file()

    assert os.environ["AZURE_CLIENT_ID"] == "mine"
    assert os.environ["HF_ENDPOINT"] == "https://here"
    assert "FINETUNE_BLOCK" not in os.environ


def test_without_a_file_nothing_changes(env_file: Path) -> None:
    before = dict(os.environ)

    use_env_file()

    assert dict(os.environ) == before


def test_a_misspelt_setting_ends_the_program_with_a_sentence(env_file: Path) -> None:
    env_file.write_text("FINETUNE_DATUM=x")

    with pytest.raises(SystemExit, match="Did you mean FINETUNE_DATA"):
        use_env_file()


def test_a_server_that_answers_is_needed_no_more(prefect_server: None) -> None:
    assert need_server() == get_current_settings().api.url


@pytest.mark.parametrize(
    ("api", "said"),
    [
        (None, "No Prefect server is named"),
        ("http://127.0.0.1:9/api", "The Prefect server http://127.0.0.1:9/api does not answer"),
    ],
)
def test_a_missing_server_ends_the_program_with_a_sentence(api: str | None, said: str) -> None:
    with temporary_settings({PREFECT_API_URL: api}), pytest.raises(SystemExit, match=said):
        need_server()
