"""What a run may spend while it goes on, with a real job and prices that make seconds dear."""

from __future__ import annotations

import uuid
from pathlib import Path

import pytest
from prefect import flow

from finetuning.errors import BudgetExceeded
from finetuning.form.run import FineTune
from finetuning.planning.spending import Actual
from flows.fine_tune import train
from flows.lifecycle.cleanup import guarded
from tasks.budget import report_costs
from tasks.deployment import deploy_model
from tasks.plan import settle_plan
from tests.conftest import RunningEmulator
from tests.support.plans import plan_of
from tests.support.runs import context_of, endless, small

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
def trained(run: FineTune) -> Actual:
    """The half that trains, and what it cost."""
    context = context_of(run)
    with guarded(context, run) as guard:
        plan = guard.follow(settle_plan(context, run))
        train(context, plan, guard)
    assert guard.spending is not None
    return report_costs(guard.spending)


@pytest.fixture
def dear(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    prices = tmp_path / "dear.toml"
    prices.write_text(DEAR)
    monkeypatch.setenv("FINETUNE_PRICES", str(prices))


def test_spending_beyond_the_budget_ends_the_wait(stage: RunningEmulator, dear: None) -> None:
    run = endless(small(uuid.uuid4().hex, budget=500.0))

    with pytest.raises(BudgetExceeded, match=r"of a budget of 500\.00 while training"):
        trained(run)


def test_no_deployment_is_begun_once_the_budget_is_spent(stage: RunningEmulator) -> None:
    run = small(uuid.uuid4().hex)
    before = stage.requests()[-1]["index"] if stage.requests() else 0

    with pytest.raises(BudgetExceeded):
        deploy(run)

    asked = stage.requests(after=before)
    assert [one["path"] for one in asked if one["method"] in ("PUT", "POST", "PATCH")] == []


@flow
def deploy(run: FineTune) -> None:
    def spent() -> None:
        raise BudgetExceeded(2.0, 1.0, "USD", "serving")

    deploy_model(context_of(run), plan_of(run).serving, "m:1", spent)


def test_actual_node_hours_are_reported_from_the_jobs_own_times(
    stage: RunningEmulator, dear: None
) -> None:
    run = small(uuid.uuid4().hex, budget=1e9)

    found = trained(run)

    steps = [line.what for line in found.of("training")]
    assert len(steps) == 5 and "training: chat_completion_finetune" in steps
    assert all(line.node_hours > 0 for line in found.lines)
    assert found.total > 500
    assert found.estimate is not None and found.estimate.total < 1
