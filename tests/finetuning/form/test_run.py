"""The flow's one parameter: the tutorial's defaults, and every bad value refused by its field."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from finetuning.form.run import FineTune

BAD: list[tuple[str, Any]] = [
    ("preset", "phi4"),
    ("preset", "no/such.toml"),
    ("model.versoin", "7"),
    ("compute.name", "x"),
    ("compute.name", "has space"),
    ("compute.tier", "spot"),
    ("compute.max_nodes", 0),
    ("compute.idle_minutes", 0),
    ("compute.steps.preprocess", {"cluster": "serverless"}),
    ("data.dataset", "no-owner"),
    ("data.percentage", 0),
    ("data.percentage", -1),
    ("data.percentage", 100.1),
    ("data.splits", []),
    ("data.cut", {"split": "train", "train": 0.8, "validation": 0.1, "test": 0.2}),
    ("data.cut", {"split": "train", "train": 1, "validation": 0, "test": 0}),
    ("data.splits", ["train_sft", "train_sft"]),
    ("data.max_rows", 0),
    ("data.seed", -1),
    ("parameters.num_train_epochs", 0),
    ("parameters.num_train_epochs", "abc"),
    ("parameters.learning_rate", 0),
    ("parameters.lr_scheduler_type", "cosinus"),
    ("parameters.deepspeed_stage", 7),
    ("parameters.other", {"learning_rate": 1}),
    ("registered_name", "has/slash"),
    ("endpoint.name", "ab"),
    ("endpoint.name", "1-begins-with-a-digit"),
    ("endpoint.name", "ends-with-"),
    ("endpoint.name", "a" * 33),
    ("endpoint.deployment", "has space"),
    ("endpoint.instance_count", 0),
    ("endpoint.request_timeout_ms", 180_001),
    ("endpoint.probe_initial_delay_s", 0),
    ("test.rows", 0),
    ("test.temperature", -0.1),
    ("test.top_p", 0),
    ("test.top_p", 1.1),
    ("test.max_new_tokens", 0),
    ("deadlines.training_minutes", 0),
    ("deadlines.poll_seconds", 0),
    ("budget", -1),
    ("unknown", 1),
]


def nested(path: str, value: Any) -> dict[str, Any]:
    for part in reversed(path.split(".")):
        value = {part: value}
    return dict(value)


@pytest.mark.parametrize("path, value", BAD)
def test_a_bad_value_is_refused_by_the_name_of_its_field(path: str, value: Any) -> None:
    with pytest.raises(ValidationError) as error:
        FineTune.model_validate(nested(path, value))

    named = {".".join(str(part) for part in line["loc"]) for line in error.value.errors()}
    said = str(error.value)
    assert any(path in one or one in path for one in named if one) or path in said, said


def test_the_defaults_are_a_live_model_on_the_tutorials_data() -> None:
    run = FineTune()

    assert run.preset == "phi-4" and run.model.name == "Phi-4"
    assert run.model.label == "latest"
    assert (run.compute.name, run.compute.size) == ("gpu-cluster-a100", "")
    assert run.compute.max_nodes == 2
    assert run.data.dataset == "HuggingFaceH4/ultrachat_200k"
    assert run.data.percentage == 5
    assert run.data.splits == ("train_sft", "test_sft", "train_gen", "test_gen")
    assert run.endpoint.instance_type == ""
    assert run.endpoint.probe_initial_delay_s == 600
    assert run.endpoint.request_timeout_ms == 90_000
    assert run.test.model_dump(exclude={"rows", "seed"}) == {
        "temperature": 0.6,
        "top_p": 0.9,
        "do_sample": True,
        "max_new_tokens": 200,
    }


def test_only_what_the_user_chose_counts_as_chosen() -> None:
    run = FineTune.model_validate(
        {"parameters": {"num_train_epochs": 2, "other": {"max_seq_length": 64}}}
    )

    assert run.parameters.chosen() == {"num_train_epochs": 2, "max_seq_length": 64}


def test_a_form_that_sends_every_default_chooses_nothing() -> None:
    sent = FineTune().model_dump(mode="json")

    assert FineTune.model_validate(sent) == FineTune()
    assert FineTune.model_validate(sent).parameters.chosen() == {}
