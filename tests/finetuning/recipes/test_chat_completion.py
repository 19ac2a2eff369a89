"""The tutorial's recipe: what it calls a job, asks an endpoint and reads from its answer."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from emulator.catalogue import load_catalogue
from finetuning.recipes import find_recipe

RECIPE = find_recipe("chat_completion")
INPUTS = load_catalogue().registry("azureml").components[0]["properties"]["componentSpec"]["inputs"]
OUTPUTS = (
    load_catalogue().registry("azureml").components[0]["properties"]["componentSpec"]["outputs"]
)


def test_the_display_name_is_the_tutorials() -> None:
    parameters = {
        "per_device_train_batch_size": 2,
        "gradient_accumulation_steps": 3,
        "lr_scheduler_type": "cosine",
        "apply_deepspeed": "true",
        "deepspeed_stage": "2",
        "apply_lora": "true",
        "save_total_limit": 1,
    }

    assert RECIPE.display_name("Phi-3", "ultrachat", parameters, 8) == (
        "Phi-3-ultrachat-bs48-cosine-ds2-lora-save_limit1-seqlen-1"
    )


def test_every_input_and_output_that_the_recipe_names_is_the_components() -> None:
    named = {*RECIPE.model_inputs.values(), RECIPE.gpus_input, *RECIPE.files, *RECIPE.cut_files}
    named |= set(RECIPE.defaults)
    named |= {*RECIPE.follows, *RECIPE.least}
    named |= {f"compute_{name}" for name in RECIPE.computes}

    assert named <= set(INPUTS)
    assert RECIPE.component_output in OUTPUTS


@pytest.mark.parametrize(
    ("response", "answer"),
    [
        ('["Hello."]', "Hello."),
        ('{"output": "Hello."}', "Hello."),
        ('{"output": ["Hello."]}', "Hello."),
        ('[{"output": "Hello."}]', "Hello."),
        ('"Hello."', "Hello."),
        ("Hello.", "Hello."),  # no JSON: a text as it is
        ("[]", ""),
        ("{}", ""),
        ("null", ""),
        ('{"output": []}', ""),
    ],
)
def test_the_answer_is_taken_out_of_every_shape_that_a_scorer_gives(
    response: str, answer: str
) -> None:
    assert RECIPE.answer(response) == answer


@given(st.text(min_size=1))
def test_whatever_a_scorer_says_comes_back_as_it_was_said(said: str) -> None:
    for shape in (said, [said], {"output": said}, {"output": [said]}, [{"output": said}]):
        assert RECIPE.answer(json.dumps(shape)) == said


@given(st.text() | st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
).map(json.dumps))  # fmt: skip
def test_no_response_is_a_crash(response: str) -> None:
    assert isinstance(RECIPE.answer(response), str)


def test_a_request_is_one_conversation_with_the_sampling_parameters() -> None:
    asked = [{"role": "user", "content": "Hi"}]

    body: dict[str, Any] = RECIPE.request(asked, {"top_p": 0.9})

    assert body["input_data"] == {"input_string": [asked], "parameters": {"top_p": 0.9}}
