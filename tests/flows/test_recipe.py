"""A second kind of fine-tune goes through the whole flow by its recipe alone."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest

from finetuning.azure.client import open_client
from finetuning.azure.settings import load_settings
from finetuning.errors import PlanRefused
from finetuning.form.run import Scalar
from finetuning.recipes import Splits, find_recipe
from flows.fine_tune import fine_tune
from tests.conftest import RunningEmulator
from tests.support.recipes import registered
from tests.support.runs import small

pytestmark = pytest.mark.slow

TUTORIAL = find_recipe("chat_completion")
SYSTEM = {"role": "system", "content": "Answer in one word."}


def request(messages: list[dict[str, str]], sampling: Mapping[str, Any]) -> dict[str, Any]:
    """Ask with a system message in front, and never by chance."""
    return TUTORIAL.request([SYSTEM, *messages], {**sampling, "do_sample": False})


def display_name(model: str, data: str, parameters: Mapping[str, Scalar], gpus: int) -> str:
    return f"{model} answers briefly after {data}, lr {parameters['learning_rate']}"


#: The emulator's registry has one component; all else differs from the tutorial's recipe.
BRIEF = replace(
    TUTORIAL,
    name="brief_answers",
    title="brief answers",
    job_output="brief_model",
    splits=Splits(train="train_gen", test="test_gen", asked="test_sft"),
    files={"train_file_path": "train_gen", "test_file_path": "test_gen"},
    defaults={**TUTORIAL.defaults, "weight_decay": 0.02},
    experiment="brief",
    display_name=display_name,
    request=request,
    answer=lambda response: f"briefly: {TUTORIAL.answer(response)}",
)


def test_a_recipe_of_ones_own_trains_serves_and_answers_without_a_change_elsewhere(
    stage: RunningEmulator,
) -> None:
    run = small(uuid.uuid4().hex, recipe="brief_answers")

    with registered(BRIEF):
        result = fine_tune(run)

    job: Any = open_client(load_settings()).jobs.get(result.job.name)
    (step,) = job.jobs.values()
    version = result.data.files["train_gen"].sha256[:16]
    assert job.display_name == "Phi-4 answers briefly after ultrachat, lr 0.002"
    assert job.experiment_name == "brief_Phi-4"
    assert set(job.outputs) == {"brief_model"}
    assert version in step.inputs["train_file_path"].path
    assert result.parameters["weight_decay"] == 0.02
    assert result.metrics.loss_last is not None and result.metrics.loss_first is not None
    assert result.metrics.loss_last < result.metrics.loss_first
    assert result.answers[0].answer.startswith("briefly: ")
    assert result.endpoint not in [one["name"] for one in stage.summary()["endpoints"]]


def test_a_misspelt_recipe_ends_the_flow_with_the_nearest_before_anything_is_created(
    stage: RunningEmulator,
) -> None:
    before = stage.requests()[-1]["index"] if stage.requests() else 0

    with pytest.raises(PlanRefused, match=r"'chat_completoin' .* mean 'chat_completion'\?"):
        fine_tune(small(uuid.uuid4().hex, recipe="chat_completoin"))

    asked = stage.requests(after=before)
    assert [one for one in asked if one["method"] in ("PUT", "PATCH")] == []
    assert not any("/jobs/" in one["path"] and one["method"] == "PUT" for one in asked)
