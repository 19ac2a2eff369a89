"""What a run spends: the meter while it goes on, and the cost beside the estimate."""

from __future__ import annotations

from datetime import date

import pytest

from finetuning.errors import BudgetExceeded
from finetuning.form.run import StepComputes
from finetuning.planning.prices import CostLine, Estimate, Nodes, Prices
from finetuning.planning.spending import Actual, Meter, Metered, compare, step_nodes
from finetuning.recipes import find_recipe

RECIPE = find_recipe("chat_completion")
GPU = Nodes(size="Standard_ND40rs_v2", count=1)
SERVING = Nodes(size="Standard_NC6s_v3", count=1)
TRAINING = Nodes(size="Standard_ND40rs_v2", count=2, low_priority=True)


def line(what: str, hours: float, cost: float) -> CostLine:
    return CostLine(what=what, size="S", node_hours=hours, per_hour=1, cost=cost)


@pytest.mark.parametrize("step", RECIPE.steps)
def test_a_step_runs_on_the_trainings_nodes_and_only_the_fine_tune_on_all(step: str) -> None:
    found = step_nodes(RECIPE.step(step), TRAINING, StepComputes())

    assert found.size == "Standard_ND40rs_v2" and found.low_priority
    assert found.count == (2 if step == "chat_completion_finetune" else 1)


def test_a_step_with_a_compute_of_its_own_runs_there() -> None:
    steps = StepComputes.model_validate({"preprocess": {"instance_type": "Standard_D12_v2"}})

    found = step_nodes(RECIPE.step("chat_completion_datapreprocess"), TRAINING, steps)

    assert found == Nodes(size="Standard_D12_v2", count=1)


def test_actual_and_estimate_stand_side_by_side() -> None:
    estimate = Estimate(
        currency="EUR",
        lines=[line("training", 3, 30), line("endpoint", 0.5, 1)],
        tokens=1,
        steps=1,
        source="a test",
        date=date(2026, 1, 1),
    )
    lines = [line("training: a", 1, 10), line("training: b", 2, 25), line("endpoint", 0.25, 0.5)]

    found = Actual(currency="EUR", lines=lines, estimate=estimate)

    assert found.total == pytest.approx(35.5)
    text = compare(found)
    assert "# The run cost 35.50 EUR" in text
    assert "| training | 3.000 | 3.000 | 30.00 | 35.00 |" in text
    assert "| endpoint | 0.500 | 0.250 | 1.00 | 0.50 |" in text


def test_without_an_estimate_the_actual_cost_is_told_alone() -> None:
    text = compare(Actual(currency="EUR", lines=[line("training: a", 1, 10)]))

    assert "| training | unknown | 1.000 | unknown | 10.00 |" in text


def test_the_meter_adds_up_what_runs_and_what_has_ended(prices: Prices) -> None:
    meter = Meter(prices)
    meter.set(Metered(what="training", nodes=GPU, started=0, ended=3600))
    meter.set(Metered(what="endpoint", nodes=SERVING, started=3600))

    assert meter.spent(now=3600) == pytest.approx(8)
    assert meter.spent(now=3600 + 1800) == pytest.approx(8 + 1)


def test_telling_the_meter_again_replaces_what_it_knew(prices: Prices) -> None:
    meter = Meter(prices)
    meter.set(Metered(what="training", nodes=GPU, started=0))
    meter.set(Metered(what="training", nodes=GPU, started=0, ended=1800))

    assert meter.spent(now=7200) == pytest.approx(4)


def test_a_budget_that_is_passed_raises_and_one_that_is_not_does_not(prices: Prices) -> None:
    meter = Meter(prices)
    meter.set(Metered(what="training", nodes=GPU, started=0))

    assert meter.check(3600, 8.0, "training") == pytest.approx(8)
    with pytest.raises(BudgetExceeded, match=r"16\.00 EUR of a budget of 8\.00"):
        meter.check(7200, 8.0, "training")


def test_without_a_budget_nothing_is_refused(prices: Prices) -> None:
    meter = Meter(prices)
    meter.set(Metered(what="training", nodes=GPU, started=0))

    assert meter.check(10**9, None, "training") > 0


def test_a_clock_that_went_back_costs_nothing(prices: Prices) -> None:
    meter = Meter(prices)
    meter.set(Metered(what="training", nodes=GPU, started=100))

    assert meter.spent(now=50) == 0
