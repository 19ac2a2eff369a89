"""The foundation model's gate against the emulator, by the real SDK."""

from __future__ import annotations

from typing import Any

import pytest

from finetuning.azure.settings import Settings
from finetuning.form.run import ModelChoice
from tasks.model import check_model
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


def test_an_unreadable_card_is_warned_of(settings: Settings) -> None:
    found = check_model.fn(settings, ModelChoice(name="community-chat-model"))

    fields = [one.what for one in found.findings if one.level == "warning"]
    assert len(fields) == 4
