"""What a run has spent so far, from sizes, times and prices."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict

from workspace.errors import BudgetExceeded
from workspace.prices import CostLine, Nodes, Prices, cost_line, total


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
