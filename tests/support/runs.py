"""Fine-tunes that train for real in seconds, or that end in no test by themselves."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

from finetuning.azure.naming import job_name, run_key
from finetuning.azure.ownership import Ownership, ownership_tags
from finetuning.azure.settings import load_settings
from finetuning.form.context import RunContext
from finetuning.form.run import FineTune
from finetuning.planning.planner import endpoint_name


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
                "eval_steps": 3,
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


class Names(NamedTuple):
    """What a run's job and endpoint are called."""

    job: str
    endpoint: str


def names(run: FineTune, flow_run_id: str = "") -> Names:
    """Return the names of what a run makes; they follow from its key, or from the flow run's id."""
    key = run_key(flow_run_id, run.key)
    return Names(job_name(key), endpoint_name(run, key))


def context_of(run: FineTune) -> RunContext:
    """Return what the steps of a run with a key are handed, as a flow hands it to them."""
    key, hour = run_key("", run.key), timedelta(hours=1)
    tags = ownership_tags("fine-tune", "test", key, datetime.now(UTC), hour)
    owner = Ownership(flow_run_id="test", key=key, tags=tags)
    return RunContext(settings=load_settings(), owner=owner, deadlines=run.deadlines)
