"""Step 1, validation: everything about the inputs that can be told without loading the model.

Fails on enumerations and numbers that make no sense, missing or empty files, broken lines, and
columns that the chat-completion schema does not know.
"""

import json
from pathlib import Path

from step import Spec, StepError, conversations, run, say

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
AT_LEAST_ONE = (
    "num_nodes_finetune", "number_of_gpu_to_use_finetuning", "batch_size", "num_train_epochs",
    "per_device_train_batch_size", "per_device_eval_batch_size", "gradient_accumulation_steps",
)  # fmt: skip
FILES = ("train_file_path", "validation_file_path", "test_file_path")


def main(spec: Spec) -> None:
    check_parameters(spec)
    counts = {name: check_file(spec, name) for name in FILES if spec.paths.get(name)}
    if "train_file_path" not in counts:
        raise StepError("Input 'train_file_path' was not given: there is nothing to train on.")
    models = [n for n in ("mlflow_model_path", "pytorch_model_path") if spec.paths.get(n)]
    if not models:
        raise StepError("Neither 'mlflow_model_path' nor 'pytorch_model_path' was given.")
    for name in models:
        spec.path(name)
    (spec.out / "validation_info.json").write_text(json.dumps(counts))
    say(f"validated: {counts}")


def check_parameters(spec: Spec) -> None:
    """Raises StepError: the first parameter that is not what the component takes."""
    for name, allowed in {**ENUMS, **dict.fromkeys(FLAGS, ("true", "false"))}.items():
        if name in spec.parameters and spec.text(name, "") not in allowed:
            raise StepError(
                f"Input '{name}' is '{spec.parameters[name]}', not one of {', '.join(allowed)}."
            )
    for name in AT_LEAST_ONE:
        if name in spec.parameters and spec.integer(name, 1) < 1:
            raise StepError(f"Input '{name}' is {spec.parameters[name]}; it must be at least 1.")
    if spec.number("learning_rate", 2e-5) < 0:
        raise StepError(f"Input 'learning_rate' is {spec.parameters['learning_rate']}, below 0.")


def check_file(spec: Spec, name: str) -> int:
    """Number of rows of a data file. Raises StepError: see the module."""
    path = spec.path(name)
    if path.is_dir():
        raise StepError(f"Input '{name}' is a folder; a JSON Lines file was expected.")
    check_columns(path)
    rows = sum(1 for _ in conversations(path))
    if rows == 0:
        raise StepError(f"Input '{name}': {path.name} has no rows.")
    return rows


def check_columns(path: Path) -> None:
    """Raises StepError: the first row has a column that the schema does not know."""
    with path.open(encoding="utf-8") as lines:
        first = next((line for line in lines if line.strip()), "")
    try:
        row = json.loads(first or "{}")
    except ValueError as error:
        raise StepError(f"{path.name}, line 1: not JSON ({error}).") from None
    unknown = sorted(set(row) - KNOWN_COLUMNS) if isinstance(row, dict) else []
    if unknown:
        raise StepError(
            f"{path.name}: unknown columns {', '.join(unknown)}; known are "
            f"{', '.join(sorted(KNOWN_COLUMNS))}."
        )


if __name__ == "__main__":
    run(main, __doc__)
