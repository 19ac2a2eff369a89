"""Resume the runs whose job has ended or must end: the fallback where no event reached us."""

from datetime import datetime

from prefect import flow, get_run_logger

from finetuning.errors import FineTuneError
from flows.lifecycle.approval import UNANSWERED
from flows.lifecycle.context import FINE_TUNE
from flows.lifecycle.runs import find_suspended, refuse_unanswered, resume_runs
from flows.lifecycle.server import time_there
from tasks.connection import find_settings
from tasks.suspended import SuspendedRun, find_overdue
from tasks.training import find_ended_jobs


@flow(name="resume", validate_parameters=True, persist_result=False)
def resume() -> list[str]:
    """Resume each suspended fine-tune whose job has ended, or whose deadline or budget has come.

    A run that waits for approval is left alone; where nobody answered in time, it is refused.
    One listing of jobs serves all of them; the jobs of runs with a budget, and those that may be
    too late, are looked at one by one. Returns the names of the runs that go on.

    Raises:
        FineTuneError: the jobs could not be listed; what is due by itself was resumed all the same.
    """
    now = time_there()
    refused = refuse_unanswered(FINE_TUNE, now, UNANSWERED)
    if refused:
        get_run_logger().warning("nobody approved %s in time: refused", ", ".join(refused))
    waiting = find_suspended(FINE_TUNE)
    if not waiting:
        return []
    settings = find_settings()
    due = [one for one in waiting if is_due(one, now)]
    asleep = [one for one in waiting if one not in due]
    overdue = find_overdue(settings, asleep, now)
    for job, why in overdue.items():
        get_run_logger().warning("job %s must not go on: %s", job, why)
    try:
        ended = find_ended_jobs(settings, {one.job: one.since for one in asleep})
    except FineTuneError:
        _resume([one for one in waiting if one in due or one.job in overdue], waiting)
        raise
    goes_on = {*ended, *overdue}
    return _resume([one for one in waiting if one in due or one.job in goes_on], waiting)


def _resume(due: list[SuspendedRun], waiting: list[SuspendedRun]) -> list[str]:
    resumed = resume_runs(due) if due else []
    get_run_logger().info("%d runs wait; resumed: %s", len(waiting), ", ".join(resumed) or "none")
    return resumed


def is_due(run: SuspendedRun, now: datetime) -> bool:
    """Return whether a run is to look for itself, its job ended or not."""
    return run.wake is not None and now >= run.wake
