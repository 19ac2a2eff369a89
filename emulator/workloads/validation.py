"""Step 1, validation: everything about the inputs that can be told without loading the model.

Fails on enumerations and numbers that make no sense, missing or empty files, broken lines, and
columns that the chat-completion schema does not know.
"""

import json
from pathlib import Path

from step import Spec, StepError, conversations, rows, run, say

KNOWN_COLUMNS = {"messages", "prompt", "prompt_id"}
ENUMS = {
    "task_name": ("ChatCompletion",),
    "lr_scheduler_type": (
        "linear", "cosine", "cosine_with_restarts", "polynomial", "constant",
        "constant_with_warmup",
    ),
    "optim": ("adamw_torch", "adafactor"),
    "precision": ("32", "16"),
    "deepspeed_stage": ("2", "3"),
    "evaluation_strategy": ("epoch", "steps", "disable"),
    "logging_strategy": ("epoch", "steps"),
    "metric_for_best_model": ("loss", "f1", "exact"),
}  # fmt: skip
FLAGS = (
    "trust_remote_code", "pad_to_max_length", "apply_lora", "merge_lora_weights",
    "auto_find_batch_size", "enable_full_determinism", "ignore_mismatched_sizes",
    "resume_from_checkpoint", "apply_early_stopping", "apply_deepspeed", "apply_ort",
)  # fmt: skip
AT_LEAST = {  # whole numbers
    "num_nodes_finetune": 1, "number_of_gpu_to_use_finetuning": 1, "batch_size": 1,
    "num_train_epochs": 1, "per_device_train_batch_size": 1, "per_device_eval_batch_size": 1,
    "gradient_accumulation_steps": 1, "logging_steps": 1, "eval_steps": 1, "lora_r": 1,
    "lora_alpha": 1, "early_stopping_patience": 1, "warmup_steps": 0, "seed": 0,
    "dataloader_num_workers": 0, "max_steps": -1, "max_seq_length": -1, "save_total_limit": -1,
    "eval_accumulation_steps": -1,
}  # fmt: skip
SHARES = ("adam_beta1", "adam_beta2", "lora_dropout")  # from 0, below 1
NOT_NEGATIVE = (
    "learning_rate", "weight_decay", "adam_epsilon", "max_grad_norm", "evaluation_steps_interval",
    "early_stopping_threshold",
)  # fmt: skip
FILES = ("train_file_path", "validation_file_path", "test_file_path")
MODELS = ("mlflow_model_path", "pytorch_model_path")
TABLES = ("train_mltable_path", "validation_mltable_path", "test_mltable_path")
NOT_READ = ("finetune_config_path", "deepspeed", "evaluation_config")


def main(spec: Spec) -> None:
    check_parameters(spec)
    check_paths(spec)
    counts = {name: check_file(spec, name) for name in FILES if spec.paths.get(name)}
    (spec.out / "validation_info.json").write_text(json.dumps(counts))
    say(f"validated: {', '.join(f'{name} has {count} rows' for name, count in counts.items())}")


def check_parameters(spec: Spec) -> None:
    """Raises StepError: the first parameter that is not what the component takes."""
    for name, allowed in {**ENUMS, **dict.fromkeys(FLAGS, ("true", "false"))}.items():
        if name in spec.parameters and spec.text(name, "") not in allowed:
            raise StepError(
                f"Input '{name}' is '{spec.parameters[name]}', not one of {', '.join(allowed)}."
            )
    for name, least in AT_LEAST.items():
        if spec.integer(name, least) < least:
            raise StepError(
                f"Input '{name}' is {spec.parameters[name]}; it must be at least {least}."
            )
    for name in SHARES:
        if not 0 <= spec.number(name, 0) < 1:
            raise StepError(
                f"Input '{name}' is {spec.parameters[name]}; it must be at least 0 and below 1."
            )
    for name in NOT_NEGATIVE:
        if spec.number(name, 0) < 0:
            raise StepError(f"Input '{name}' is {spec.parameters[name]}; it must not be negative.")


def check_paths(spec: Spec) -> None:
    """Raises StepError: nothing to train, nothing to train on, or no file where one was named."""
    for name in TABLES:
        if spec.paths.get(name):
            raise StepError(
                f"Input '{name}': this emulator reads no MLTable; give "
                f"'{name.replace('mltable', 'file')}', a JSON Lines file."
            )
    if not spec.paths.get("train_file_path"):
        raise StepError("Input 'train_file_path' was not given: there is nothing to train on.")
    models = [name for name in MODELS if spec.paths.get(name)]
    if not models:
        raise StepError(f"Neither '{MODELS[0]}' nor '{MODELS[1]}' was given.")
    for name in models:
        spec.path(name)
    for name in NOT_READ:
        if spec.paths.get(name):
            say(f"accepted without effect: {name}={spec.path(name).name} (it is not read)")


def check_file(spec: Spec, name: str) -> int:
    """Number of rows of a data file. Raises StepError: see the module."""
    path = spec.path(name)
    if path.is_dir():
        raise StepError(f"Input '{name}' is a folder; a JSON Lines file was expected.")
    check_columns(path)
    count = sum(1 for _ in conversations(path))
    if count == 0:
        raise StepError(f"Input '{name}': {path.name} has no rows.")
    return count


def check_columns(path: Path) -> None:
    """Raises StepError: a row has a column that the schema does not know."""
    for number, row in rows(path):
        unknown = sorted(set(row) - KNOWN_COLUMNS)
        if unknown:
            raise StepError(
                f"{path.name}, line {number}: unknown columns {', '.join(unknown)}; known are "
                f"{', '.join(sorted(KNOWN_COLUMNS))}."
            )


if __name__ == "__main__":
    run(main, __doc__)
