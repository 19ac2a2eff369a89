"""The fine-tune: that it learns, that it repeats, and that each parameter has its effect."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from .bench import Ran, tensors
from .conftest import Train


@pytest.fixture(scope="module")
def plain(train: Train) -> Ran:
    """Three steps, all weights, nothing else asked for."""
    return train()


@pytest.fixture(scope="module")
def lora(train: Train) -> Ran:
    return train(apply_lora="true", lora_alpha=16, merge_lora_weights="false")


def test_the_loss_falls_in_training_and_in_evaluation(train: Train) -> None:
    ran = train(num_train_epochs=8)

    losses, evaluations = ran.values("loss"), ran.values("eval_loss")
    assert losses[-1] < 0.8 * losses[0]
    assert evaluations[-1] < 0.8 * evaluations[0]
    assert evaluations == sorted(evaluations, reverse=True)


def test_evaluation_comes_after_each_epoch_and_not_before_the_first_step(train: Train) -> None:
    ran = train(num_train_epochs=2)

    assert ran.steps("eval_loss") == [3, 6]
    assert ran.curve("epoch")[-1] == (6, 2.0)
    assert ran.values("train_tokens")[0] > 0


def test_the_same_seed_gives_the_same_losses_and_weights(train: Train, plain: Ran) -> None:
    again = train()

    assert again.curve("loss") == plain.curve("loss")
    assert again.curve("eval_loss") == plain.curve("eval_loss")
    assert again.weights() == plain.weights()


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("seed", 7),
        ("num_train_epochs", 2),
        ("max_steps", 2),
        ("per_device_train_batch_size", 3),
        ("gradient_accumulation_steps", 2),
        ("learning_rate", 1e-3),
        ("lr_scheduler_type", "constant"),
        ("warmup_steps", 2),
        ("weight_decay", 0.5),
        ("adam_beta1", 0.5),
        ("adam_beta2", 0.5),
        ("adam_epsilon", 0.1),
        ("optim", "adafactor"),
        ("max_grad_norm", 1e-6),
    ],
)
def test_a_parameter_changes_what_is_learned(
    train: Train, plain: Ran, name: str, value: Any
) -> None:
    ran = train(**{name: value})

    assert ran.weights() != plain.weights()


@pytest.mark.parametrize(
    ("name", "value"), [("lora_r", 2), ("lora_alpha", 64), ("lora_dropout", 0.5)]
)
def test_a_parameter_of_lora_changes_what_is_learned(
    train: Train, lora: Ran, name: str, value: Any
) -> None:
    parameters = {"apply_lora": "true", "lora_alpha": 16, "merge_lora_weights": "false"}
    ran = train(**(parameters | {name: value}))

    assert ran.weights("pytorch_model_folder/adapter") != lora.weights(
        "pytorch_model_folder/adapter"
    )


def test_a_learning_rate_of_zero_changes_nothing(train: Train, model_folder: Path) -> None:
    ran = train(learning_rate=0, num_train_epochs=2)

    assert ran.weights() == tensors(model_folder)
    assert len(set(ran.values("eval_loss"))) == 1


def test_lora_leaves_the_base_and_trains_an_adapter(lora: Ran, model_folder: Path) -> None:
    base = tensors(model_folder)
    tuned = lora.weights()

    assert {name: tuned[name] for name in base} == base
    assert (lora.out / "pytorch_model_folder/adapter/adapter_model.safetensors").exists()
    assert "14336 of 227648 weights are trained" in lora.log


def test_merged_lora_is_one_model_of_the_base_s_form(train: Train, model_folder: Path) -> None:
    ran = train(apply_lora="true")
    base, tuned = tensors(model_folder), ran.weights()

    assert set(tuned) == set(base)
    assert tuned != base
    assert not (ran.out / "pytorch_model_folder/adapter").exists()


def test_max_steps_bounds_the_epochs_and_outlasts_them(train: Train) -> None:
    fewer = train(num_train_epochs=5, max_steps=2, evaluation_strategy="disable")
    more = train(num_train_epochs=1, max_steps=5, evaluation_strategy="disable")

    assert fewer.steps("loss") == [1, 2]
    assert more.steps("loss") == [1, 2, 3, 4, 5]


def test_accumulation_makes_fewer_steps_of_the_same_rows(train: Train, plain: Ran) -> None:
    ran = train(gradient_accumulation_steps=2)

    assert plain.steps("loss") == [1, 2, 3]
    assert ran.steps("loss") == [1, 2]
    assert ran.values("train_tokens") == plain.values("train_tokens")


@pytest.mark.parametrize(
    ("scheduler", "shares"),
    [
        ("constant", [1, 1, 1, 1, 1]),
        ("constant_with_warmup", [0, 1, 1, 1, 1]),
        ("linear", [0, 1, 0.75, 0.5, 0.25]),
        ("cosine", [0, 1, 0.854, 0.5, 0.146]),
        ("cosine_with_restarts", [0, 1, 0.854, 0.5, 0.146]),  # one cycle, as transformers has it
        ("polynomial", [0, 1, 0.75, 0.5, 0.25]),
    ],
)
def test_the_learning_rate_follows_its_scheduler(
    train: Train, scheduler: str, shares: list[float]
) -> None:
    ran = train(
        lr_scheduler_type=scheduler, warmup_steps=1, max_steps=5, learning_rate=1e-3,
        evaluation_strategy="disable",
    )  # fmt: skip

    assert ran.values("learning_rate") == pytest.approx([1e-3 * one for one in shares], abs=1e-6)


@pytest.mark.parametrize(
    ("strategy", "evaluated"),
    [
        ({"evaluation_strategy": "epoch"}, [3, 6]),
        ({"evaluation_strategy": "steps", "eval_steps": 4}, [4, 6]),
        ({"evaluation_strategy": "steps"}, [6]),
        (
            {"evaluation_strategy": "steps", "evaluation_steps_interval": 0.34},
            [1, 2, 3, 4, 5, 6],
        ),
        ({"evaluation_strategy": "disable"}, []),
    ],
)
def test_evaluation_follows_its_strategy(
    train: Train, strategy: dict[str, Any], evaluated: list[int]
) -> None:
    assert train(num_train_epochs=2, **strategy).steps("eval_loss") == evaluated


@pytest.mark.parametrize(
    ("strategy", "logged"),
    [
        ({"logging_steps": 4}, [1, 4, 6]),
        ({"logging_strategy": "epoch"}, [3, 6]),
    ],
)
def test_logging_follows_its_strategy(
    train: Train, strategy: dict[str, Any], logged: list[int]
) -> None:
    ran = train(num_train_epochs=2, evaluation_strategy="disable", **strategy)

    assert ran.steps("loss") == logged


def test_a_logged_loss_is_the_mean_since_the_one_before(train: Train) -> None:
    each = train(evaluation_strategy="disable").values("loss")
    whole = train(evaluation_strategy="disable", logging_strategy="epoch").values("loss")

    assert whole == pytest.approx([sum(each) / 3])


def test_early_stopping_stops_when_it_no_longer_gets_better(train: Train) -> None:
    ran = train(
        learning_rate=0, num_train_epochs=9, apply_early_stopping="true", early_stopping_patience=2
    )

    assert ran.steps("eval_loss") == [3, 6, 9]
    assert "stopped early at step 9: no better for 2 evaluations" in ran.log


def test_early_stopping_wants_more_than_its_threshold(train: Train) -> None:
    ran = train(num_train_epochs=9, apply_early_stopping="true", early_stopping_threshold=100)

    assert ran.steps("eval_loss") == [3, 6]


def test_early_stopping_goes_back_to_the_best_weights(train: Train) -> None:
    ran = train(
        learning_rate=0.3, num_train_epochs=9, apply_early_stopping="true",
        lr_scheduler_type="constant", save_total_limit=1, early_stopping_patience=2,
    )  # fmt: skip
    evaluated = ran.curve("eval_loss")
    best = min(evaluated, key=lambda one: one[1])[0]

    assert best < evaluated[-1][0]
    assert f"back to the weights of step {best}" in ran.log
    assert ran.weights() == ran.weights(f"checkpoints/checkpoint-{best}")


def test_a_training_that_got_worse_keeps_its_best_weights_however_it_ended(train: Train) -> None:
    ran = train(
        learning_rate=0.3, num_train_epochs=2, lr_scheduler_type="constant", save_total_limit=1
    )
    evaluated = ran.curve("eval_loss")
    best = min(evaluated, key=lambda one: one[1])[0]

    assert best < evaluated[-1][0] == 6
    assert ran.weights() == ran.weights(f"checkpoints/checkpoint-{best}")


def test_a_checkpoint_that_cannot_be_read_is_said(train: Train) -> None:
    first = train(max_steps=1)
    (first.out / "checkpoints" / "checkpoint-1" / "state.pt").write_bytes(b"half a file")

    ran = train(out=first.out, resume_from_checkpoint="true", fails=True)

    assert "Can't find a valid checkpoint at checkpoint-1" in ran.log


@pytest.mark.parametrize(("limit", "kept"), [(-1, [1, 2, 3]), (2, [2, 3]), (1, [3])])
def test_save_total_limit_bounds_the_checkpoints(train: Train, limit: int, kept: list[int]) -> None:
    ran = train(save_total_limit=limit, evaluation_strategy="steps", eval_steps=1)

    names = {one.name for one in (ran.out / "checkpoints").iterdir()}
    assert names == {f"checkpoint-{step}" for step in kept}


@pytest.mark.parametrize("apply_lora", ["false", "true"])
def test_a_resumed_training_ends_where_an_unbroken_one_does(train: Train, apply_lora: str) -> None:
    same = {"lr_scheduler_type": "constant", "apply_lora": apply_lora, "lora_dropout": 0.2}
    unbroken = train(max_steps=5, **same)
    first = train(max_steps=2, **same)
    resumed = train(max_steps=5, resume_from_checkpoint="true", out=first.out, **same)

    assert "resumed from checkpoint-2" in resumed.log
    assert resumed.steps("loss") == [1, 2, 3, 4, 5]
    assert resumed.values("loss") == unbroken.values("loss")
    assert resumed.weights() == unbroken.weights()


def test_without_resume_what_an_earlier_try_left_is_dropped(train: Train, plain: Ran) -> None:
    first = train(max_steps=1)
    second = train(out=first.out)

    assert second.curve("loss") == plain.curve("loss")
    assert [one.name for one in (second.out / "checkpoints").iterdir()] == ["checkpoint-3"]


def test_the_log_says_what_is_accepted_without_effect(train: Train) -> None:
    asked = {
        "apply_deepspeed": "true", "deepspeed_stage": "2", "apply_ort": "true", "precision": "16",
        "shm_size_finetune": "5g", "number_of_gpu_to_use_finetuning": 8,
        "metric_for_best_model": "f1",
    }  # fmt: skip
    ran = train(**asked, max_steps=1, auto_find_batch_size="false")

    for name, value in asked.items():
        assert f"accepted without effect: {name}={value} (" in ran.log
    assert "auto_find_batch_size" not in ran.log


def test_parameters_without_effect_have_none(train: Train, plain: Ran) -> None:
    ran = train(apply_deepspeed="true", precision="16", apply_ort="true")

    assert ran.weights() == plain.weights()


def test_a_training_that_diverges_says_so(train: Train) -> None:
    ran = train(learning_rate=1e30, num_train_epochs=3, max_grad_norm=0, fails=True)

    assert ran.code == 1
    assert "the training diverged. Lower learning_rate (it is 1e+30)." in ran.sentence


def test_nothing_to_train_on_is_a_sentence(train: Train, tmp_path: Path) -> None:
    ran = train(rows=tmp_path, fails=True)

    assert ran.sentence == f"There are no rows to train on in '{tmp_path}'."
