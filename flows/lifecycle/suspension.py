"""Waiting without a process: a run that suspends while its job trains, and goes on from its name.

A suspended run costs nothing but its row in Prefect's database. What it made is tagged, named after
the run and adopted when the run is resumed: by the event that Azure sends when the job has ended
(``deployments/events.py`` and an automation), or else by the poller (``flows/resume.py``), which
also wakes it at its deadline and before its budget can be passed.
"""

from __future__ import annotations

from datetime import UTC, datetime
from math import ceil
from uuid import uuid4

import httpx
from prefect import get_run_logger
from prefect.flow_runs import suspend_flow_run
from prefect.runtime import deployment

from finetuning.errors import SettingsError
from finetuning.form.context import RunContext
from finetuning.form.results import SubmittedJob
from finetuning.form.run import Waiting
from finetuning.planning.plan import Plan
from flows.lifecycle.cleanup import Guard
from flows.lifecycle.runs import GRACE
from tasks.training import has_training_ended

#: The shortest sleep worth ending a process for, in seconds.
LEAST_S = 60.0


def refuse_to_suspend_alone(waiting: Waiting) -> None:
    """Refuse, before anything is created, what could never be resumed.

    Raises:
        SettingsError: the run shall be suspended, but has no deployment.
    """
    if waiting == "suspended" and deployment.id is None:
        raise SettingsError(
            "run.waiting is 'suspended', but this run has no deployment that could resume it. "
            "Trigger the deployment fine-tune/run, or set run.waiting to 'attached'."
        )


def suspend_while_training(
    context: RunContext, plan: Plan, job: SubmittedJob, guard: Guard
) -> None:
    """End this process until the job has ended; return at once where there is nothing to gain.

    What was begun beside the job is waited for first: the process would take it along. Where
    Prefect's server does not take the suspension, the run waits here as an attached one does.

    Raises:
        Pause: Prefect's signal that ends the process; the run begins again from the top.
    """
    limits = context.deadlines
    if plan.waiting != "suspended" or has_training_ended(context.settings, job.name):
        return
    guard.outlast_begun(limits.deployment_minutes * 60)
    guard.watch()  # an endpoint that cannot be is known now, not when the job has ended
    left = limits.training_minutes * 60 - job.age(datetime.now(UTC))
    if left <= 0:
        return
    wake = min(left, max(guard.seconds_left(), LEAST_S))
    timeout = ceil(wake + GRACE.total_seconds())
    try:
        # A key of its own, or Prefect takes a second suspension for the first, which is over.
        suspend_flow_run(timeout=timeout, key=uuid4().hex)
    except (httpx.HTTPError, RuntimeError) as error:
        get_run_logger().warning("cannot suspend (%s): this process waits for the job", error)
