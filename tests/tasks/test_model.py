"""The foundation model's gate against the emulator, by the real SDK."""

from __future__ import annotations

from typing import Any

import pytest

from finetuning.azure.settings import Settings
from finetuning.form.run import ModelChoice
from tasks.model import check_model
from tests.conftest import RunningEmulator
from tests.support.findings import errors_of


def test_a_label_is_resolved_to_a_version_and_an_id(
    settings: Settings, nothing_is_written: None
) -> None:
    found = check_model.fn(settings, ModelChoice())

    assert found.foundation is not None
    assert found.foundation.version == "8"
    assert found.foundation.id.endswith("/models/Phi-4/versions/8")
    assert errors_of(found.findings) == []


def test_the_lists_of_system_metadata_reach_us_through_the_sdks_own_connection(
    settings: Settings,
) -> None:
    found = check_model.fn(settings, ModelChoice(name="Phi-4"))

    assert found.card.finetune_sizes is not None
    assert "Standard_NC24ads_A100_v4" in found.card.finetune_sizes


@pytest.mark.parametrize(
    ("choice", "said"),
    [
        ({"name": "Phi-99"}, "'Phi-99:latest' is not in registry 'azureml'"),
        ({"version": "99"}, "'Phi-4:99' is not in registry 'azureml'"),
        ({"label": "newest"}, "'Phi-4:newest' is not in registry 'azureml'"),
        (
            {"name": "Phi-3-mini-4k-instruct", "version": "15"},
            "Phi-3-mini-4k-instruct:15 is archived",
        ),
        ({"name": "Phi-3-mini-128k-instruct"}, "was retired for fine-tuning on 2025-08-30"),
        ({"registry": "no-such"}, "Registry 'no-such' is not there"),
        ({"name": "Phi-4-reasoning"}, "cannot be fine-tuned for chat completion"),
    ],
)
def test_a_model_that_will_not_do_is_refused(
    settings: Settings, nothing_is_written: None, choice: dict[str, Any], said: str
) -> None:
    found = check_model.fn(settings, ModelChoice(**choice))

    assert any(said in one for one in errors_of(found.findings)), found.findings


@pytest.mark.parametrize(
    ("name", "near"),
    [
        ("Phi-3-mini-4k-instuct", "Phi-3-mini-4k-instruct"),
        ("phi-3-mini-4k-instruct-", "Phi-3-mini-4k-instruct"),
    ],
)
def test_a_models_typo_gets_the_nearest_name(settings: Settings, name: str, near: str) -> None:
    (found,) = check_model.fn(settings, ModelChoice(name=name)).findings

    assert found.change.startswith(f"Did you mean {near}? ")


@pytest.mark.parametrize(
    "choice", [{"name": "nothing like any of them"}, {"version": "99"}, {"label": "newest"}]
)
def test_a_name_that_is_like_none_or_that_is_there_gets_no_other(
    settings: Settings, choice: dict[str, Any]
) -> None:
    (found,) = check_model.fn(settings, ModelChoice(**choice)).findings

    assert found.change.startswith("Check run.model.name")


def test_a_registry_that_does_not_list_its_models_only_leaves_the_name_out(
    settings: Settings, emulator: RunningEmulator
) -> None:
    emulator.add_fault(kind="status", method="GET", path="/models$", status=403, times=0)

    (found,) = check_model.fn(settings, ModelChoice(name="Phi-3-mini-4k-instuct")).findings

    assert found.change.startswith("Check run.model.name")


def test_an_unreadable_card_is_warned_of(settings: Settings) -> None:
    found = check_model.fn(settings, ModelChoice(name="community-chat-model"))

    fields = [one.what for one in found.findings if one.level == "warning"]
    assert len(fields) == 4
