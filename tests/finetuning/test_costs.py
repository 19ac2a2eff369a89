"""What a run cost, beside what it was estimated at."""

from __future__ import annotations

from datetime import date

import pytest

from finetuning.form.run import StepComputes
from finetuning.planning.prices import CostLine, Estimate, Nodes
from finetuning.planning.spending import COMPUTE_OF_STEP, Actual, compare, step_nodes

TRAINING = Nodes(size="Standard_ND40rs_v2", count=2, low_priority=True)


def line(what: str, hours: float, cost: float) -> CostLine:
    return CostLine(what=what, size="S", node_hours=hours, per_hour=1, cost=cost)


@pytest.mark.parametrize("step", COMPUTE_OF_STEP)
def test_a_step_runs_on_the_trainings_nodes_and_only_the_fine_tune_on_all(step: str) -> None:
    found = step_nodes(step, TRAINING, StepComputes())

    assert found.size == "Standard_ND40rs_v2" and found.low_priority
    assert found.count == (2 if step == "chat_completion_finetune" else 1)


def test_a_step_with_a_compute_of_its_own_runs_there() -> None:
    steps = StepComputes.model_validate({"preprocess": {"instance_type": "Standard_D12_v2"}})

    found = step_nodes("chat_completion_datapreprocess", TRAINING, steps)

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
