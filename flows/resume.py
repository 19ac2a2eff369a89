"""Resume the runs whose job has ended: the fallback where Azure's own event did not reach us."""

from datetime import UTC, datetime

from prefect import flow, get_run_logger

from flows.lifecycle.context import FINE_TUNE
from flows.lifecycle.runs import Waiting, find_suspended, resume_runs
from tasks.connection import find_settings
from tasks.training import find_ended_jobs


@flow(name="resume", validate_parameters=True, persist_result=False)
def resume() -> list[str]:
    """Resume each suspended fine-tune whose job has ended, or whose deadline or budget is near.

    One listing of jobs serves all of them. Returns the names of the runs that go on.
    """
    waiting = find_suspended(FINE_TUNE)
    if not waiting:
        return []
    ended = set(find_ended_jobs(find_settings(), {one.job: one.since for one in waiting}))
    due = [one for one in waiting if one.job in ended or is_due(one, datetime.now(UTC))]
    resumed = resume_runs(due) if due else []
    get_run_logger().info("%d runs wait; resumed: %s", len(waiting), ", ".join(resumed) or "none")
    return resumed


def is_due(run: Waiting, now: datetime) -> bool:
    """Return whether a run is to look for itself, its job ended or not."""
    return run.wake is not None and now >= run.wake
