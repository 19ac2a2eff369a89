"""Names and tags as functions of the run, so that a repeated step finds what its first try made.

Azure's rules (checked against the service's documentation): an endpoint's name is 3 to 32
characters, begins with a letter, holds letters, digits and hyphens, ends with a letter or digit,
and is unique in its region. A job's name holds letters, digits, ``-`` and ``_`` (up to 255). A
model's name holds letters, digits, ``-``, ``_`` and ``.``; its version likewise (up to 30).
"""

from __future__ import annotations

import hashlib
import re

ENDPOINT_PREFIX = "ultrachat-completion-"


ENDPOINT_RULE = re.compile(r"^[a-zA-Z]([-a-zA-Z0-9]{1,30})[a-zA-Z0-9]$")


def run_key(flow_run_id: str, chosen: str | None = None) -> str:
    """Return ten hex digits that name this run's resources.

    ``chosen`` is the caller's own key (``run.key``): two runs with the same one share their
    resources. Without it the flow run's id decides, which retries and restarts keep.
    """
    return hashlib.sha256((chosen or flow_run_id).encode()).hexdigest()[:10]


def job_name(key: str) -> str:
    """Return the pipeline job's name."""
    return f"fine-tune-{key}"


def endpoint_name(key: str, chosen: str | None = None) -> str:
    """Return the endpoint's name: at most 32 characters, unique in the region by its key."""
    return chosen or f"{ENDPOINT_PREFIX}{key}"


def registered_model_name(model: str, chosen: str | None = None) -> str:
    """Return the fine-tuned model's name; a slash is not allowed in one."""
    return (chosen or f"{model}-ultrachat-200k").replace("/", "-")


def model_version(key: str) -> str:
    """Return the fine-tuned model's version, a function of the run (the tutorial: of the clock)."""
    return key


def experiment_name(model: str, chosen: str | None = None) -> str:
    """Return the experiment under which the job runs."""
    return (chosen or f"chat_completion_{model}").replace("/", "-")


def display_name(model: str, parameters: dict[str, object], gpus: int) -> str:
    """Return the tutorial's display name of the job: what was trained, and how."""
    batch = gpus
    for factor in (
        "per_device_train_batch_size",
        "gradient_accumulation_steps",
        "num_nodes_finetune",
    ):
        batch *= int(str(parameters.get(factor, 1)))
    deepspeed = str(parameters.get("apply_deepspeed", "false")) == "true"
    lora = str(parameters.get("apply_lora", "false")) == "true"
    return "-".join(
        [
            model,
            "ultrachat",
            f"bs{batch}",
            str(parameters.get("lr_scheduler_type", "linear")),
            f"ds{parameters.get('deepspeed_stage', 2)}" if deepspeed else "nods",
            "lora" if lora else "nolora",
            f"save_limit{parameters.get('save_total_limit', -1)}",
            f"seqlen{parameters.get('max_seq_length', -1)}",
        ]
    )
