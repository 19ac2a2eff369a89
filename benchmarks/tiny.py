"""The fine-tune that is measured: the default preset, with eight short training steps."""

from __future__ import annotations

from typing import Any

DATASET = "HuggingFaceH4/ultrachat_200k"
MODEL = "Phi-4"
CLUSTER = "gpu-cluster-a100"
SIZE = "Standard_NC24ads_A100_v4"
PERCENTAGE = 5
#: Of the full dataset's rows where whole runs are measured.
SCALE = 0.05
#: Inputs of the component that make the training short; both ways are given the same.
SHORT: dict[str, Any] = {"max_steps": 8, "max_seq_length": 96, "logging_steps": 1}
NEW_TOKENS = 16


def fine_tune_parameters(
    poll_seconds: float, percentage: float = PERCENTAGE, **changes: Any
) -> dict[str, Any]:
    """Return the flow's parameter ``run``; ``poll_seconds`` are real seconds between two looks."""
    return {
        "data": {"percentage": percentage},
        "parameters": {"other": dict(SHORT)},
        "test": {"max_new_tokens": NEW_TOKENS},
        "deadlines": {"poll_seconds": poll_seconds},
        **changes,
    }
