"""Attempts: the jobs of one run, of which each follows another that did not complete.

A run's first job has the run's own name, and each attempt after it the next number (``...-2``).
Only a retry on purpose makes another; what else begins the run again adopts the newest.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from finetuning.azure.naming import next_attempt
from finetuning.azure.ownership import RETRY_TAG, RUN_TAG
from finetuning.azure.service_errors import look_up, state_text
from finetuning.form.context import RunContext

if TYPE_CHECKING:
    from azure.ai.ml import MLClient

#: A job in one of these states goes on no more, and bills nothing. A job that is NotResponding is
#: not among them: it "can go from NotResponding to any of the previous states" (the SDK's
#: enumeration JobStatus, azure/ai/ml/_restclient/arm_ml_service/models/_enums.py).
ENDED = ("Completed", "Failed", "Canceled")


def has_ended(status: str | None) -> bool:
    """Return whether a job with this status goes on no more."""
    return status in ENDED


def newest_attempt(client: MLClient, job: str) -> Any:
    """Return the newest job of a run; None where it has none.

    ``job``: the name of the first attempt, or of one that is known to be there.
    """
    newest, name = None, job
    while (found := look_up(client.jobs.get, name)) is not None:
        newest, name = found, next_attempt(name)
    return newest


def newest_name(client: MLClient, job: str) -> str:
    """Return the newest attempt's name; ``job`` itself where there is none."""
    found = newest_attempt(client, job)
    return job if found is None else str(found.name)


def may_be_followed(context: RunContext, job: Any) -> bool:
    """Return whether this run may submit another attempt after this job.

    It may where the job has ended without completing and the run was begun again on purpose since
    it was submitted. A retry that crashed and is taken up again thus adopts its own job.
    """
    status = state_text(job.status)
    if not context.retries or not has_ended(status) or status == "Completed":
        return False
    tags = job.tags or {}
    if tags.get(RUN_TAG) != context.owner.flow_run_id:  # by a shared key it is another run's
        return True
    submitted_at = str(tags.get(RETRY_TAG, ""))  # an earlier version wrote none
    return (int(submitted_at) if submitted_at.isdigit() else 0) < context.retries
