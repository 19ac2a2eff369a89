"""What a run has spent: the meter while it goes on, and the cost beside the estimate."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict

from finetuning.errors import BudgetExceeded
from finetuning.form.run import StepComputes
from finetuning.planning.prices import CostLine, Estimate, Nodes, Prices, cost_line, total
from finetuning.planning.report import cost_table, table
from finetuning.recipes import Step


class Metered(BaseModel):
    """Nodes that bill from ``started`` to ``ended`` (unix seconds), or still do."""

    model_config = ConfigDict(frozen=True)

    what: str
    nodes: Nodes
    started: float
    ended: float | None = None


class Meter:
    """Adds up what has been spent so far, from sizes, times and prices.

    It keeps no clock: each question brings the time. What it knows can be told anew at any time
    (``set``), so a restarted process builds the same meter from the job and the endpoint.
    """

    def __init__(self, prices: Prices) -> None:
        self.prices = prices
        self._metered: dict[str, Metered] = {}

    def set(self, metered: Metered) -> None:
        """Count these nodes; the same ``what`` again replaces what was told before."""
        self._metered[metered.what] = metered

    def forget(self, what: str) -> None:
        """Count these no more; does nothing where nothing was told of them."""
        self._metered.pop(what, None)

    def lines(self, now: float) -> list[CostLine]:
        """Return node-hours and costs so far; a size without a price costs nothing."""
        return [self._line(one, now) for one in self._metered.values()]

    def _line(self, one: Metered, now: float) -> CostLine:
        until = now if one.ended is None else one.ended
        hours = max(0.0, until - one.started) / 3600 * one.nodes.count
        price = self.prices.per_hour(one.nodes.size, low_priority=one.nodes.low_priority)
        return cost_line(one.what, one.nodes.size, hours, price or 0.0)

    def spent(self, now: float) -> float:
        """Return what has been spent until ``now``, in the table's currency."""
        return total(self.lines(now))

    def check(self, now: float, budget: float | None, doing: str) -> float:
        """Return what has been spent.

        Raises:
            BudgetExceeded: that is more than ``budget``.
        """
        spent = self.spent(now)
        if budget is not None and spent > budget:
            raise BudgetExceeded(spent, budget, self.prices.currency, doing)
        return spent


TRAINING = "training"


class Actual(BaseModel):
    """What was spent, by what it was spent on."""

    model_config = ConfigDict(frozen=True)

    currency: str
    lines: list[CostLine]
    estimate: Estimate | None = None

    @property
    def total(self) -> float:
        """Return the sum, in ``currency``."""
        return total(self.lines)

    def of(self, what: str) -> list[CostLine]:
        """Return the lines of ``training``, ``endpoint`` or ``promotion``."""
        return [line for line in self.lines if line.what.split(":")[0] == what]


def step_nodes(step: Step, training: Nodes, steps: StepComputes) -> Nodes:
    """Return the nodes on which a step of the pipeline runs.

    A step without a compute of its own runs on the fine-tune's; so is one counted whose cluster's
    size the run does not name, which is at worst too dear.
    """
    own = steps.of(step.compute)
    count = training.count if step.distributed else 1
    if own is not None and own.instance_type:
        return Nodes(size=own.instance_type, count=count)
    return Nodes(size=training.size, count=count, low_priority=training.low_priority)


def compare(actual: Actual) -> str:
    """Return a markdown report: estimate and actual side by side, then every line."""
    estimated = {line.what: line for line in actual.estimate.lines} if actual.estimate else {}
    rows = []
    promotes = "promotion" in estimated or bool(actual.of("promotion"))
    for what in (TRAINING, "endpoint", *(["promotion"] if promotes else [])):
        lines, before = actual.of(what), estimated.get(what)
        rows.append(
            [
                what,
                f"{before.node_hours:.3f}" if before else "unknown",
                f"{sum(line.node_hours for line in lines):.3f}",
                f"{before.cost:.2f}" if before else "unknown",
                f"{total(lines):.2f}",
            ]
        )
    money = actual.currency
    head = ["what", "estimated node-hours", "actual node-hours", f"estimated {money}"]
    return "\n\n".join(
        [
            f"# The run cost {actual.total:.2f} {money}",
            table([*head, f"actual {money}"], rows),
            cost_table(actual.lines, money),
            "Node-hours cover the job's steps and the endpoint. The cluster's idle time "
            "before it scales down is extra.",
        ]
    )
