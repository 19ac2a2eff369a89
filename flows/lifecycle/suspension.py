"""Waiting without a process: a run that suspends while its job trains, and goes on from its name.

A suspended run costs nothing but its row in Prefect's database. What it made is tagged, named after
the run and adopted when the run is resumed: by the event that Azure sends when the job has ended
(``deployments/events.py`` and an automation), or else by the poller (``flows/resume.py``), which
also wakes it at its deadline and before its budget can be passed.
"""

from __future__ import annotations

from datetime import UTC, datetime
from math import ceil
from uuid import UUID, uuid4

import httpx
from prefect import get_run_logger, task
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.exceptions import PrefectException
from prefect.flow_runs import suspend_flow_run
from prefect.runtime import deployment, flow_run

from finetuning.errors import SettingsError
from finetuning.form.context import RunContext
from finetuning.form.results import SubmittedJob
from finetuning.form.run import Waiting
from finetuning.planning.plan import Plan
from flows.lifecycle.cleanup import Guard
from flows.lifecycle.history import has_begun_before, read_history
from flows.lifecycle.runs import ASKED, GRACE, PLAN_INPUT
from tasks.training import has_training_ended

#: The shortest sleep worth ending a process for, in seconds.
LEAST_S = 60.0


#: The flow that resumes what waits, and the automation that does so by Azure's event.
POLLER, RESUMER = "resume", "fine-tune: a suspended run's job ended"


def refuse_to_suspend_alone(waiting: Waiting) -> None:
    """Refuse, before anything is created, what could never be resumed.

    A run that begins again is not refused: its job is there, and it waits with its process instead.

    Raises:
        SettingsError: the run shall be suspended, but has no deployment, or nobody wakes it.
    """
    if waiting != "suspended":
        return
    if deployment.id is None:
        raise SettingsError(
            "run.waiting is 'suspended', but this run has no deployment that could resume it. "
            "Trigger the deployment fine-tune/run, or set run.waiting to 'attached'."
        )
    if not _begun_before() and not find_wakers():
        raise SettingsError(
            "run.waiting is 'suspended', but nobody would wake this run: no schedule of the flow "
            f"'{POLLER}' is on, and the automation \"{RESUMER}\" is not installed or is off. Turn "
            "the schedule of resume/every-2-minutes on, which also watches budgets and deadlines, "
            "or set run.waiting to 'attached'."
        )


def _begun_before() -> bool:
    run_id = UUID(str(flow_run.id))
    return flow_run.run_count > 1 or has_begun_before(read_history(run_id))


@task(name="Ask who wakes suspended runs", **ASKED)
def find_wakers() -> list[str]:
    """Return what resumes a suspended run when its job has ended, by name."""
    with get_client(sync_client=True) as client:
        return _wakers(client)


def _wakers(client: SyncPrefectClient) -> list[str]:
    from prefect.client.schemas.filters import FlowFilter, FlowFilterName

    installed = [one.name for one in client.read_automations_by_name(RESUMER) if one.enabled]
    pollers = client.read_deployments(flow_filter=FlowFilter(name=FlowFilterName(any_=[POLLER])))
    polling = [
        f"{POLLER}/{one.name}"
        for one in pollers
        if not one.paused and any(schedule.active for schedule in one.schedules)
    ]
    return [*polling, *installed]


def suspend_while_training(
    context: RunContext, plan: Plan, job: SubmittedJob, guard: Guard
) -> None:
    """End this process until the job has ended; return at once where there is nothing to gain.

    What was begun beside the job is waited for first: the process would take it along. Where
    Prefect's server does not take the suspension, or nobody is left who would wake the run, it
    waits here as an attached one does.

    Raises:
        Pause: Prefect's signal that ends the process; the run begins again from the top.
    """
    limits = context.deadlines
    if plan.waiting != "suspended":
        _leave_plan(context.owner.flow_run_id, plan)  # somebody may suspend it by hand
        return
    guard.outlast_begun(limits.deployment_minutes * 60)
    guard.watch()  # an endpoint that cannot be is known now, not when the job has ended
    left = limits.training_minutes * 60 - job.age(datetime.now(UTC))
    if left <= 0:
        return
    wake = min(left, max(guard.seconds_left(), LEAST_S))
    timeout = ceil(wake + GRACE.total_seconds())
    try:
        if not _somebody_wakes(context.owner.flow_run_id, plan):
            get_run_logger().warning("nobody wakes suspended runs any more: this process waits")
            return
        if has_training_ended(context.settings, job.name):  # last: an event that came finds nobody
            return
        # A key of its own, or Prefect takes a second suspension for the first, which is over.
        suspend_flow_run(timeout=timeout, key=uuid4().hex)
    except (httpx.HTTPError, PrefectException, RuntimeError) as error:
        get_run_logger().warning("cannot suspend (%s): this process waits for the job", error)


def _somebody_wakes(flow_run_id: str, plan: Plan) -> bool:
    """Return whether somebody wakes suspended runs; leave the plan with a budget for the poller."""
    with get_client(sync_client=True) as client:
        if not _wakers(client):
            return False
        if plan.budget is not None:
            _leave(client, UUID(flow_run_id), plan)
    return True


def _leave_plan(flow_run_id: str, plan: Plan) -> None:
    if plan.budget is None or deployment.id is None:
        return
    try:
        with get_client(sync_client=True) as client:
            _leave(client, UUID(flow_run_id), plan)
    except (httpx.HTTPError, PrefectException) as error:
        get_run_logger().warning("the plan is not left for the poller: %s", error)


def _leave(client: SyncPrefectClient, flow_run_id: UUID, plan: Plan) -> None:
    try:
        client.create_flow_run_input(flow_run_id, PLAN_INPUT, plan.model_dump_json())
    except httpx.HTTPStatusError as error:
        if error.response.status_code != 409:  # left when it was suspended before
            raise
