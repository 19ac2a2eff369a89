"""The fine-tune that ``make demo`` runs: the tutorial's, cut down to minutes on two CPU cores."""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import Any

from workspace.types import FineTune

DEMO: dict[str, Any] = {
    "data": {"percentage": 5, "max_rows": 24},
    "parameters": {
        "num_train_epochs": 1,
        "per_device_train_batch_size": 2,
        "per_device_eval_batch_size": 4,
        "learning_rate": 2e-4,
        "other": {
            "max_steps": 12,
            "max_seq_length": 160,
            "logging_steps": 1,
            "lora_r": 8,
            "lora_alpha": 16,
            "evaluation_strategy": "epoch",
        },
    },
    "test": {"rows": 2, "max_new_tokens": 40},
    "deadlines": {
        "training_minutes": 20,
        "deployment_minutes": 10,
        "poll_seconds": 1,
    },
}


def demo_run() -> FineTune:
    """Return the demo's parameters."""
    return FineTune.model_validate(DEMO)
