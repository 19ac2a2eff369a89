"""Recovery: why a job failed, and what another attempt is to do otherwise.

It is decided from Azure alone: each attempt says on itself why it followed another. So a process
that begins the run again decides what the first one would have decided, and adopts what that one
has submitted.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any

from prefect import get_run_logger

from finetuning.azure.client import open_client
from finetuning.azure.ownership import CAUSE_TAG
from finetuning.azure.run_history import StepRun, get_steps, why_it_failed
from finetuning.azure.service_errors import service_errors, state_text
from finetuning.azure.settings import Settings
from finetuning.azure.tracking import last_logged, logged_values
from finetuning.errors import FineTuneError, JobError, JobNotResponding, TrainingHopeless
from finetuning.form.context import RunContext
from finetuning.form.results import Attempt, Remedy, SubmittedJob
from finetuning.planning.plan import Plan
from finetuning.recipes import find_recipe
from finetuning.training.causes import (
    NOT_RESPONDING,
    Attempted,
    Batch,
    Can,
    Cause,
    Evidence,
    classify,
    remedy,
)
from finetuning.training.curve import EVAL_LOSS, LOSS
from tasks.attempts import changes_of, recovering_attempts
from tasks.step import azure_step
from tasks.waiting import Patience, wait_until


@azure_step("Find out why the job failed")
def find_remedy(
    context: RunContext, plan: Plan, job: SubmittedJob, failed: JobError
) -> Remedy | None:
    """Return what another attempt is to do otherwise; None where there is to be none.

    There is none where the cause is not known to pass, or where the run has made as many attempts
    as it may. That why it failed cannot be read is said; the job has failed all the same.
    """
    log, settings = get_run_logger(), context.settings
    if isinstance(failed, TrainingHopeless):
        return None
    try:
        with service_errors("Find out why the job failed"):
            attempts = recovering_attempts(open_client(settings), job.name)
            cause = find_cause(settings, job.name, failed)
            saved = _has_saved(settings, plan, job.name)
    except FineTuneError as error:
        log.warning("why job %s failed cannot be read: %s", job.name, error)
        return None
    most = plan.recovery.choice.max_attempts
    found = remedy([*earlier_attempts(attempts), Attempted(cause, job.changes)], _can(plan, saved))
    if found is None or len(attempts) >= most:
        why = "it is not repeated" if found is None else f"it was the last of {most} attempts"
        log.warning("job %s failed, cause: %s; %s", job.name, cause, why)
        return None
    said = ", ".join(f"{name} {value}" for name, value in found.items()) or "the same again"
    log.warning("job %s failed, cause: %s; the next attempt: %s", job.name, cause, said)
    return Remedy(after=job.name, cause=cause, changes=found)


def earlier_attempts(attempts: list[Any]) -> list[Attempted]:
    """Return the attempts that have been followed: each one's cause is on its successor."""
    causes = [str((one.tags or {}).get(CAUSE_TAG, "permanent")) for one in attempts[1:]]
    earlier = attempts[:-1]
    return [
        Attempted(cause, changes_of(one))  # type: ignore[arg-type]  # what we wrote on it
        for one, cause in zip(earlier, causes, strict=True)
    ]


def _can(plan: Plan, saved: bool) -> Can:
    known = plan.recovery
    return Can(Batch(known.batch, known.accumulation), frozenset(known.declared), saved)


def find_cause(settings: Settings, job: str, failed: JobError) -> Cause:
    """Return why a job failed, from what the service says of it and of its steps.

    Raises:
        azure.core.exceptions.AzureError: the run history did not tell.
    """
    if isinstance(failed, JobNotResponding):
        return classify([Evidence(NOT_RESPONDING)])
    return classify(_evidence(settings, job))


def _evidence(settings: Settings, job: str) -> Iterator[Evidence]:
    for step in get_steps(settings, job):
        if step.status == "Failed":
            yield Evidence(*why_it_failed(settings, step.run))
    yield Evidence(why_it_failed(settings, job)[0])


def _has_saved(settings: Settings, plan: Plan, job: str) -> bool:
    """Whether a training has written a checkpoint: it took steps after it had been evaluated.

    The published component saves one at every evaluation (azureml-acft-accelerator:
    ShouldSaveCheckpointOnEvaluate).
    """
    recipe = find_recipe(plan.recipe)
    return any(
        step.started is not None and recipe.step(step.name).distributed and _went_on(settings, step)
        for step in get_steps(settings, job)
    )


def _went_on(settings: Settings, step: StepRun) -> bool:
    newest = last_logged(settings, step.run).get(LOSS)
    evaluated = logged_values(settings, step.run, EVAL_LOSS) if newest else []
    return newest is not None and any(one.step < newest.step for one in evaluated)


@azure_step("Pause before the next attempt")
def pause(context: RunContext, seconds: float, watch: Callable[[], None]) -> None:
    """Wait; ``watch`` may raise to end it."""
    until = time.monotonic() + seconds
    limits = Patience(
        deadline=seconds + 60,
        interval=min(context.deadlines.poll_seconds, max(seconds, 0.01)),
        outage=context.deadlines.outage_minutes * 60,
        parameter="run.recovery.pause_seconds",
        guard=watch,
    )
    wait_until("The pause", time.monotonic, lambda now: now >= until, limits)


@azure_step("List the attempts")
def list_attempts(context: RunContext, job: SubmittedJob) -> list[Attempt]:
    """Return the attempts of which the last one completed, oldest first."""
    return [
        Attempt(
            job=str(one.name),
            status=state_text(one.status),
            cause=str((one.tags or {}).get(CAUSE_TAG, "")),
            changes=changes_of(one),
        )
        for one in recovering_attempts(open_client(context.settings), job.name)
    ]
