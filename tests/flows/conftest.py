"""A small fine-tune that trains for real, and how the flow's tests run it."""

from __future__ import annotations

from typing import Any

import pytest

from finetuning.form.run import FineTune
from tests.conftest import RunningEmulator


def small(key: str, **changes: Any) -> FineTune:
    """Return the tutorial's run, cut down to seconds: few steps, short texts, quick looks."""
    values: dict[str, Any] = {
        "key": key,
        "parameters": {
            "num_train_epochs": 1,
            "learning_rate": 2e-3,
            "other": {
                "max_steps": 6,
                "max_seq_length": 96,
                "logging_steps": 1,
                "evaluation_strategy": "steps",
                "eval_steps": 6,
            },
        },
        "test": {"max_new_tokens": 12},
        "deadlines": {
            "compute_minutes": 1,
            "training_minutes": 3,
            "deployment_minutes": 2,
            "deletion_minutes": 1,
            "outage_minutes": 0.5,
            "poll_seconds": 0.2,
        },
    }
    return FineTune.model_validate(values | changes)


def endless(run: FineTune) -> FineTune:
    """Return the run with a training that ends in no test by itself."""
    other = {**run.parameters.other, "max_steps": 100_000}
    parameters = {"other": other, "num_train_epochs": 10_000}
    return run.model_copy(update={"parameters": run.parameters.model_copy(update=parameters)})


@pytest.fixture
def stage(azure_env: RunningEmulator, prefect_server: None) -> RunningEmulator:
    """The emulator and a Prefect server, ready for a flow in this process."""
    return azure_env
