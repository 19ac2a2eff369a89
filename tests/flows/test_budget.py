"""The budget while a run goes on: a real job, real times, prices that make seconds dear."""

from __future__ import annotations

import uuid
from pathlib import Path
from typing import Any

import pytest
from prefect import flow
from prefect.futures import PrefectFuture

from flows.fine_tune import ownership
from flows.plan import settle_plan
from tasks.compute import ensure_compute
from tasks.costs import Spending, report_costs
from tasks.data import prepare_data, upload_data
from tasks.training import cancel_training, submit_training, wait_for_training
from tests.conftest import RunningEmulator
from tests.flows.conftest import small
from workspace.costs import Actual
from workspace.errors import BudgetExceeded
from workspace.settings import load_settings
from workspace.types import FineTune

pytestmark = pytest.mark.slow

#: Training is estimated at nothing and costs a thousand dollars a second.
DEAR = """
overhead_hours = 0
endpoint_hours = 0
[sizes.Standard_ND40rs_v2]
per_hour = 3.6e6
tokens_per_second = 1e12
"""


@flow
def train(run: FineTune, *, wait_for_budget: bool) -> Actual:
    """Plan, submit and wait as the whole flow does, without an endpoint."""
    settings, owner = load_settings(), ownership(run)
    plan = settle_plan(settings, run, owner)
    data = prepare_data(run.data)
    files: dict[str, str] = upload_data(settings, data, owner)
    cluster: Any = ensure_compute.submit(
        settings, run.compute, plan.finetune_sizes, owner, run.deadlines
    )
    if isinstance(cluster, PrefectFuture):
        cluster = cluster.result()
    job = submit_training(
        settings, plan.job, plan.display_name, plan.experiment, plan.component, plan.model,
        cluster, run.compute.steps, files["train_sft"], files["test_sft"], plan.parameters, owner,
    )  # fmt: skip
    spending = Spending(settings, plan, run.compute.steps)
    try:
        wait_for_training(settings, job, run.deadlines, spending)
    finally:
        if wait_for_budget:
            cancel_training(settings, plan.job)
    return report_costs(spending)


@pytest.fixture
def dear(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    prices = tmp_path / "dear.toml"
    prices.write_text(DEAR)
    monkeypatch.setenv("FINETUNE_PRICES", str(prices))


def test_spending_beyond_the_budget_ends_the_wait(stage: RunningEmulator, dear: None) -> None:
    run = small(uuid.uuid4().hex, budget=500.0)

    with pytest.raises(BudgetExceeded, match=r"of a budget of 500\.00 while training"):
        train(run, wait_for_budget=True)


def test_actual_node_hours_are_reported_from_the_jobs_own_times(
    stage: RunningEmulator, dear: None
) -> None:
    run = small(uuid.uuid4().hex, budget=1e9)

    found = train(run, wait_for_budget=False)

    steps = [line.what for line in found.of("training")]
    assert len(steps) == 5 and "training: chat_completion_finetune" in steps
    assert all(line.node_hours > 0 for line in found.lines)
    assert found.total > 500
    assert found.estimate is not None and found.estimate.total < 1
