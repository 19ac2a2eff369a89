"""Suspended runs: which of their jobs have gone on for too long, or have cost too much.

Nobody but the poller looks while a run has no process. It looks at the jobs themselves: what a run
reckoned before it was suspended may be wrong, and its clock too.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from prefect import get_run_logger
from pydantic import BaseModel, ConfigDict

from finetuning.azure.client import open_client
from finetuning.azure.service_errors import service_errors
from finetuning.azure.settings import Settings
from finetuning.errors import BudgetExceeded, FineTuneError
from finetuning.form.results import SubmittedJob
from finetuning.planning.plan import Plan
from tasks.attempts import newest_attempt, newest_name
from tasks.budget import Spending
from tasks.step import azure_step
from tasks.training import cancel_training
from tasks.watching import Watched, show_from_afar


class SuspendedRun(BaseModel):
    """A suspended run and its job.

    ``job``: its first attempt, which stands for the newest. ``since``: when the run first began;
    its job is younger. ``wake``: when it wants to look for
    itself at the latest. ``training``: how long its job may take. ``plan``: of a run with a budget.
    """

    model_config = ConfigDict(frozen=True)

    flow_run_id: str
    name: str
    job: str
    since: datetime
    wake: datetime | None = None
    training: timedelta
    plan: Plan | None = None


@azure_step("Look which jobs must not go on")
def find_overdue(settings: Settings, runs: list[SuspendedRun], now: datetime) -> dict[str, str]:
    """Return why a job must not go on, by its name: its deadline has passed, or its budget.

    A job that has spent its run's budget is cancelled at once: the run that is woken for it may
    have to wait for a worker or a slot. One that cannot be looked at is asked for the next time.
    The same look shows how far the job of a run with a plan is.
    """
    found: dict[str, str] = {}
    for one in runs:
        try:
            with service_errors(f"Look at job '{one.job}'"):
                why = _over_budget(settings, one, now) or _too_late(settings, one, now)
        except FineTuneError as error:
            get_run_logger().error("run %s is not watched: %s", one.name, error)
        else:
            found |= {one.job: why} if why else {}
    return found


def _over_budget(settings: Settings, run: SuspendedRun, now: datetime) -> str | None:
    if run.plan is None:
        return None
    spending = Spending(settings, run.plan, now=now.timestamp)
    try:
        spending()
    except BudgetExceeded as error:
        cancel_training(settings, newest_name(open_client(settings), run.job))
        return str(error)
    _show(settings, run, run.plan, spending)
    return None


def _show(settings: Settings, run: SuspendedRun, plan: Plan, spending: Spending) -> None:
    """Show the run's training, which nobody else does; costs nothing before it has begun."""
    job = SubmittedJob(name=spending.job or run.job, status="", studio_url="", adopted=True)
    watched = Watched(job, plan, run.flow_run_id, lambda: spending.spent)
    if any(step.started is not None for step in spending.steps):
        show_from_afar(settings, watched, spending.steps)


def _too_late(settings: Settings, run: SuspendedRun, now: datetime) -> str | None:
    if now - run.since < run.training:  # its job is younger: not worth a request
        return None
    job = newest_attempt(open_client(settings), run.job)
    made = job.creation_context.created_at if job is not None and job.creation_context else None
    if not isinstance(made, datetime):
        return None
    age = now - (made if made.tzinfo else made.replace(tzinfo=UTC))
    return (
        f"its job is {age} old, of {run.training} that it may take" if age >= run.training else None
    )
