"""The tutorial's recipe: ``chat_completion_pipeline`` of the registry ``azureml``.

Facts are those of the published component, version 0.0.82, and of Microsoft's tutorial.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from finetuning.form.run import Scalar
from finetuning.recipes import Least, Recipe, Refusal, Splits, Step, Usual

COMPUTES = ("model_import", "preprocess", "finetune", "model_evaluation")


def display_name(model: str, data: str, parameters: Mapping[str, Scalar], gpus: int) -> str:
    """Return the tutorial's display name of the job: what was trained, and how."""
    batch = gpus
    for factor in (
        "per_device_train_batch_size",
        "gradient_accumulation_steps",
        "num_nodes_finetune",
    ):
        batch *= int(str(parameters.get(factor, 1)))
    deepspeed = parameters.get("apply_deepspeed") == "true"
    return "-".join(
        [
            model,
            data,
            f"bs{batch}",
            str(parameters.get("lr_scheduler_type", "linear")),
            f"ds{parameters.get('deepspeed_stage', 2)}" if deepspeed else "nods",
            "lora" if parameters.get("apply_lora") == "true" else "nolora",
            f"save_limit{parameters.get('save_total_limit', -1)}",
            f"seqlen{parameters.get('max_seq_length', -1)}",
        ]
    )


def refusals(values: Mapping[str, Scalar]) -> Iterator[Refusal]:
    """Yield what the component's own checks refuse together, and what to change."""

    def on(name: str) -> bool:
        return values.get(name) == "true"

    rate = values.get("learning_rate")
    if isinstance(rate, int | float) and rate <= 0:
        yield f"learning_rate is {rate:g}.", "Choose one above 0."
    if values.get("evaluation_strategy") == "steps" and not _has_evaluation_step(values):
        yield (
            "evaluation_strategy is 'steps', and neither eval_steps nor "
            "evaluation_steps_interval is above 0.",
            "Set one of the two.",
        )
    if on("apply_deepspeed") and on("auto_find_batch_size"):
        yield (
            "DeepSpeed cannot be combined with auto_find_batch_size.",
            "Set one of apply_deepspeed and auto_find_batch_size to false.",
        )
    if on("apply_deepspeed") and values.get("deepspeed_stage") == "3" and on("apply_ort"):
        yield (
            "DeepSpeed stage 3 does not work with ONNX Runtime.",
            "Set deepspeed_stage to 2, or apply_ort to false.",
        )
    if on("apply_early_stopping") and values.get("evaluation_strategy") == "disable":
        yield (
            "Early stopping looks at evaluations, and evaluation_strategy is 'disable'.",
            "Set evaluation_strategy to epoch or steps, or apply_early_stopping to false.",
        )


def doubts(values: Mapping[str, Scalar]) -> Iterator[Refusal]:
    """Yield what keeps the best checkpoint from being found, and what to change.

    The published component saves a checkpoint at every evaluation, and its output is the best of
    them (azureml-acft-accelerator, callbacks: ShouldSaveCheckpointOnEvaluate).
    """
    if values.get("evaluation_strategy") == "disable":
        yield (
            "Nothing is evaluated while it trains (evaluation_strategy is 'disable'): no best "
            "checkpoint is kept, and overfitting is not seen.",
            "Set evaluation_strategy to epoch or steps.",
        )


def _has_evaluation_step(values: Mapping[str, Scalar]) -> bool:
    given = (values.get("eval_steps", 0), values.get("evaluation_steps_interval", 0))
    return any(isinstance(steps, int | float) and steps > 0 for steps in given)


def request(messages: list[dict[str, str]], sampling: Mapping[str, Any]) -> dict[str, Any]:
    """Return the body of a scoring request: one conversation, and how to answer it."""
    return {
        "input_data": {"input_string": [messages], "parameters": dict(sampling)},
        "params": {},
    }


def answer(response: str) -> str:
    """Return the answer in a scoring response: a text, ``{"output": text}``, or a list of these."""
    try:
        content: Any = json.loads(response)
    except ValueError:
        return response
    if isinstance(content, list):
        content = content[0] if content else ""
    if isinstance(content, dict):
        content = content.get("output", "")
        content = content[0] if isinstance(content, list) and content else content
    return str(content or "")


RECIPE = Recipe(
    name="chat_completion",
    title="chat completion",
    component="chat_completion_pipeline",
    steps={
        "ft_nlp_common_validation": Step("model_import"),
        "chat_completion_model_import": Step("model_import"),
        "chat_completion_datapreprocess": Step("preprocess"),
        "chat_completion_finetune": Step("finetune", distributed=True),
        "ft_nlp_model_converter": Step("finetune"),
    },
    computes=COMPUTES,
    model_inputs={
        "mlflow_model": "mlflow_model_path",
        "custom_model": "pytorch_model_path",
    },
    gpus_input="number_of_gpu_to_use_finetuning",
    component_output="mlflow_model_folder",
    job_output="trained_model",
    checkpoints="pytorch_model_folder",
    splits=Splits(train="train_sft", test="test_sft", asked="test_gen"),
    files={"train_file_path": "train_sft", "test_file_path": "test_sft"},
    cut_splits=Splits(train="train", test="test", asked="test", validation="validation"),
    cut_files={
        "train_file_path": "train",
        "validation_file_path": "validation",
        "test_file_path": "test",
    },
    defaults={
        "num_train_epochs": 3,
        "per_device_train_batch_size": 1,
        "per_device_eval_batch_size": 1,
        "learning_rate": 5e-6,
        "lr_scheduler_type": "cosine",
        "apply_lora": "true",
        "apply_deepspeed": "true",
        "deepspeed_stage": "2",
    },
    follows={
        "mlflow_model_path": "run.model",
        "pytorch_model_path": "run.model",
        "huggingface_id": "run.model",
        "train_file_path": "run.data",
        "test_file_path": "run.data",
        "train_mltable_path": "run.data",
        "test_mltable_path": "run.data",
        "number_of_gpu_to_use_finetuning": "run.compute.size",
        **{
            f"{kind}_{compute}": f"run.compute.steps.{compute}"
            for kind in ("compute", "instance_type")
            for compute in COMPUTES
        },
    },
    card_tasks=("chat-completion", "chatcompletion"),
    experiment="chat_completion",
    display_name=display_name,
    request=request,
    answer=answer,
    # What the libraries inside the component refuse.
    least={
        "gradient_accumulation_steps": Least(1),
        "warmup_steps": Least(0),
        "dataloader_num_workers": Least(0),
        "lora_r": Least(1, "apply_lora", "true"),
        "logging_steps": Least(1, "logging_strategy", "steps"),
        "early_stopping_patience": Least(1, "apply_early_stopping", "true"),
    },
    refusals=refusals,
    doubts=doubts,
    # Ours, wide on purpose: a hundred times what the cards of the catalogue recommend and more. A
    # slip of three digits is outside, an unusual wish is not.
    usual={
        "learning_rate": Usual(1e-7, 1e-2),
        "num_train_epochs": Usual(1, 30),
        "per_device_train_batch_size": Usual(1, 64),
        "per_device_eval_batch_size": Usual(1, 128),
        "gradient_accumulation_steps": Usual(1, 256),
        "lora_r": Usual(1, 512),
        "lora_alpha": Usual(1, 1024),
        "lora_dropout": Usual(0, 0.5),
        "max_seq_length": Usual(32, 131_072),
        "weight_decay": Usual(0, 1),
        "warmup_steps": Usual(0, 100_000),
    },
)
