"""Attempts: the jobs of one run, of which each follows another that did not complete.

A run's first job has the run's own name, and each attempt after it the next number (``...-2``).
A retry on purpose makes another, and so does the recovery from a cause that passes
(``tasks/recovery.py``); what else begins the run again adopts the newest.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from finetuning.azure.naming import attempts_until, next_attempt
from finetuning.azure.ownership import CHANGES_TAG, RETRY_TAG, RUN_TAG
from finetuning.azure.service_errors import look_up, state_text
from finetuning.form.context import RunContext
from finetuning.form.run import Scalar

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


def recovering_attempts(client: MLClient, job: str) -> list[Any]:
    """Return the attempts, oldest first, that recover from each other; ``job`` is the newest.

    A retry on purpose begins anew.
    """
    found = [look_up(client.jobs.get, name) for name in attempts_until(job)]
    there = [one for one in found if one is not None]
    retry = _retry(there[-1]) if there else 0
    return [one for one in there if _retry(one) == retry]


def changes_of(job: Any) -> dict[str, Scalar]:
    """Return in which parameters a job differs from its run's plan; an odd tag says nothing."""
    try:
        found = json.loads((job.tags or {}).get(CHANGES_TAG, "{}"))
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def _retry(job: Any) -> int:
    """Return the retry in which a job was submitted; an earlier version wrote none."""
    written = str((job.tags or {}).get(RETRY_TAG, ""))
    return int(written) if written.isdigit() else 0


def may_be_followed(context: RunContext, job: Any) -> bool:
    """Return whether this run may submit another attempt after this job.

    It may where the job has ended without completing and the run was begun again on purpose since
    it was submitted. A retry that crashed and is taken up again thus adopts its own job.
    """
    status = state_text(job.status)
    if not context.retries or not has_ended(status) or status == "Completed":
        return False
    if (job.tags or {}).get(RUN_TAG) != context.owner.flow_run_id:  # by a shared key another run's
        return True
    return _retry(job) < context.retries
