"""A job that fails for a cause that passes is followed by another, until one completes."""

from __future__ import annotations

from collections.abc import Mapping

from finetuning.errors import JobError
from finetuning.form.context import RunContext
from finetuning.form.results import SubmittedJob
from finetuning.planning.plan import Plan
from flows.lifecycle.cleanup import Guard
from flows.lifecycle.suspension import suspend_while_training
from tasks.recovery import find_remedy, pause
from tasks.training import submit_training, wait_for_training


def train_until_complete(
    context: RunContext,
    plan: Plan,
    job: SubmittedJob,
    cluster: str | None,
    files: Mapping[str, str],
    guard: Guard,
) -> SubmittedJob:
    """Wait for the job, and for the attempts that follow it; return the one that completed.

    All of them share the run's budget and the deadline of the first.

    Raises:
        JobError: of the last attempt, where there is to be no other.
    """
    while True:
        suspend_while_training(context, plan, job, guard)
        try:
            return wait_for_training(context, plan, job, guard.watch, guard.spent)
        except JobError as failed:
            remedy = find_remedy(context, plan, job, failed)
            if remedy is None:
                raise
        if remedy.cause == "transient":
            pause(context, plan.recovery.choice.pause_seconds, guard.watch)
        guard.watch()
        job = submit_training(context, plan, cluster, files, remedy)
        guard.training_began(job)
