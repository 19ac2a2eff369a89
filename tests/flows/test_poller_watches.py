"""The poller looks at the jobs of suspended runs itself: what they have spent, how old they are."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from prefect import flow
from prefect.client.orchestration import get_client
from prefect.client.schemas.objects import FlowRun
from prefect.states import Suspended

from finetuning.azure.client import open_client
from finetuning.azure.run_history import get_steps
from finetuning.azure.settings import load_settings
from finetuning.form.run import FineTune
from finetuning.planning.plan import Plan
from flows.fine_tune import fine_tune
from flows.lifecycle.context import run_context
from flows.lifecycle.suspension import _leave
from flows.resume import resume
from tasks.compute import ensure_compute
from tasks.data import preparation
from tasks.data_assets import upload_data
from tasks.plan import settle_plan
from tasks.suspended import SuspendedRun, find_overdue
from tasks.training import cancel_training, submit_training
from tests.conftest import RunningEmulator
from tests.support.runs import endless, small
from tests.support.waiting import until

pytestmark = pytest.mark.slow

#: Training is estimated at nothing and costs a thousand dollars a second.
DEAR = """
overhead_hours = 0
endpoint_hours = 0
[sizes.Standard_NC24ads_A100_v4]
per_hour = 3.6e6
tokens_per_second = 1e12
"""


@flow
def begun(run: FineTune) -> Plan:
    """Plan and submit as the whole flow does, and stop looking."""
    context = run_context()
    plan = settle_plan(context, run)
    cluster = ensure_compute(context, plan.compute)
    files = upload_data(context, preparation(plan.data)(plan.data, context.settings))
    submit_training(context, plan, cluster, files)
    return plan


@pytest.fixture
def endless_job(
    stage: RunningEmulator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[tuple[FineTune, Plan]]:
    """A job that has begun to train and ends in no test, and its run's plan with a small budget."""
    prices = tmp_path / "dear.toml"
    prices.write_text(DEAR)
    monkeypatch.setenv("FINETUNE_PRICES", str(prices))
    monkeypatch.setenv("FINETUNE_DATA", str(tmp_path / "data"))
    run = endless(small(uuid.uuid4().hex, budget=500.0, waiting="suspended"))
    plan: Any = begun(run)
    settings = load_settings()
    until("a step has begun", lambda: any(s.started for s in get_steps(settings, plan.job.name)))
    yield run, plan
    cancel_training(settings, plan.job.name)


def suspended(run: FineTune, plan: Plan) -> FlowRun:
    """A run that has reckoned that it need not be woken for a day."""
    with get_client(sync_client=True) as client:
        made = client.create_deployment(client.create_flow(fine_tune), f"s-{uuid.uuid4().hex[:8]}")
        found = client.create_flow_run_from_deployment(
            made, parameters={"run": run.model_dump(mode="json")}
        )
        client.set_flow_run_state(found.id, Suspended(timeout_seconds=86_400), force=True)
        _leave(client, found.id, plan)
        _leave(client, found.id, plan)  # suspended again
    return found


def test_a_run_over_its_budget_is_woken_and_its_job_cancelled(
    stage: RunningEmulator, endless_job: tuple[FineTune, Plan]
) -> None:
    run, plan = endless_job
    rich = suspended(run, plan.model_copy(update={"budget": 1e12}))
    assert resume() == []
    with get_client(sync_client=True) as client:
        client.delete_flow_run(rich.id)
    poor = suspended(run, plan)

    until("its budget is spent", lambda: poor.name in resume())

    with get_client(sync_client=True) as client:
        state = client.read_flow_run(poor.id).state
        client.delete_flow_run(poor.id)
    assert state is not None and state.is_scheduled()
    until(
        "the job is cancelled",
        lambda: open_client(load_settings()).jobs.get(plan.job.name).status == "Canceled",
    )


def test_a_job_is_too_late_by_its_own_age_and_one_that_is_gone_hinders_nobody(
    stage: RunningEmulator, endless_job: tuple[FineTune, Plan]
) -> None:
    _, plan = endless_job
    now = datetime.now(UTC)

    def waiting(job: str, since: timedelta, training: timedelta) -> SuspendedRun:
        return SuspendedRun(
            flow_run_id=str(uuid.uuid4()), name=job, job=job, since=now - since, training=training
        )

    hour, instant = timedelta(hours=1), timedelta(microseconds=1)
    gone, odd = "fine-tune-0000000000", "not a name/of a job"

    @flow
    def look(*runs: SuspendedRun) -> Any:
        return find_overdue(load_settings(), list(runs), now)

    late = waiting(plan.job.name, hour, instant)
    young = waiting(plan.job.name, 2 * hour, hour)  # its run began long ago, its job has not

    assert look(waiting(gone, hour, instant), waiting(odd, hour, instant), young) == {}
    assert list(look(waiting(gone, hour, instant), late)) == [plan.job.name]
