"""The component's gate against the emulator, by the real SDK."""

from __future__ import annotations

from typing import Any

from finetuning.azure.client import open_registry
from finetuning.azure.settings import Settings
from finetuning.recipes import find_recipe
from tasks.component import check_component
from tests.support.findings import errors_of

RECIPE = find_recipe("chat_completion")


def test_the_component_is_pinned_with_its_69_inputs(
    settings: Settings, nothing_is_written: None
) -> None:
    found = check_component.fn(settings, RECIPE.component)

    assert found.version == "0.0.82"
    assert len(found.declared) == 69
    assert found.declared["num_train_epochs"].min == 1
    assert found.declared["lr_scheduler_type"].enum is not None


def test_the_sdk_reads_the_components_five_steps_in_order(settings: Settings) -> None:
    found: Any = open_registry(settings).components.get(RECIPE.component, label="latest")

    assert list(found.jobs) == list(RECIPE.steps)
    assert set(found.outputs) == {"pytorch_model_folder", "mlflow_model_folder"}


def test_a_component_that_is_not_there_is_an_error(settings: Settings) -> None:
    found = check_component.fn(settings, "no_such_pipeline")

    assert "'no_such_pipeline' is not in registry 'azureml'" in errors_of(found.findings)[0]
