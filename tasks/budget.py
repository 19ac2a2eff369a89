"""What a run really costs: held against the budget while it goes on, and reported afterwards."""

from __future__ import annotations

import math
import time
from collections.abc import Callable

from prefect import get_run_logger
from prefect.artifacts import create_markdown_artifact

from finetuning.azure.run_history import get_steps
from finetuning.azure.settings import Settings
from finetuning.planning.plan import Plan
from finetuning.planning.prices import Prices, load_prices
from finetuning.planning.spending import TRAINING, Actual, Meter, Metered, compare, step_nodes
from finetuning.recipes import find_recipe
from tasks.step import azure_step


class Spending:
    """Knows what a run has spent so far; call it wherever the run waits.

    A call asks Azure for the job's steps and raises once the budget is passed. Without a budget a
    call does nothing. The job's times come from Azure by its name, so a restarted process goes on
    counting where the first one stopped.
    """

    def __init__(
        self,
        settings: Settings,
        plan: Plan,
        *,
        prices: Prices | None = None,
        now: Callable[[], float] = time.time,
    ) -> None:
        self.settings, self.plan, self.now = settings, plan, now
        self.meter = Meter(prices or load_prices())
        self._serving_since: float | None = None

    def __call__(self) -> None:
        """Look, and raise if the run has spent more than it may.

        Raises:
            BudgetExceeded: the flow's clean-up then cancels the job and deletes the endpoint.
        """
        if self.plan.budget is None:
            return
        self.refresh()
        doing = "training" if self._serving_since is None else "serving"
        self.meter.check(self.now(), self.plan.budget, doing)

    def seconds_left(self) -> float:
        """Return for how many seconds the job may go on before the budget can be passed.

        Infinite without a budget, or where its size has no price.
        """
        if self.plan.budget is None:
            return math.inf
        self.refresh()
        nodes, prices = self.plan.job.nodes, self.meter.prices
        price = prices.per_hour(nodes.size, low_priority=nodes.low_priority) or 0.0
        left = max(0.0, self.plan.budget - self.meter.spent(self.now()))
        return left / (price * nodes.count) * 3600 if price * nodes.count else math.inf

    def serving_began(self) -> None:
        """Count the endpoint's nodes from now on: they bill from the deployment's creation."""
        self._serving_since = self._serving_since or self.now()
        self._meter_endpoint(None)

    def serving_ended(self) -> None:
        """Stop counting the endpoint's nodes; does nothing if there were none."""
        if self._serving_since is not None:
            self._meter_endpoint(self.now())

    def _meter_endpoint(self, ended: float | None) -> None:
        self.meter.set(
            Metered(
                what="endpoint",
                nodes=self.plan.serving.nodes,
                started=self._serving_since or self.now(),
                ended=ended,
            )
        )

    def refresh(self) -> None:
        """Ask Azure when the job's steps began and ended."""
        recipe, own = find_recipe(self.plan.recipe), self.plan.compute.choice.steps
        for step in get_steps(self.settings, self.plan.job.name):
            if step.started is not None:
                nodes = step_nodes(recipe.step(step.name), self.plan.job.nodes, own)
                what = f"{TRAINING}: {step.name}"
                self.meter.set(
                    Metered(what=what, nodes=nodes, started=step.started, ended=step.ended)
                )


@azure_step("Report the cost")
def report_costs(spending: Spending) -> Actual:
    """Write node-hours and endpoint-hours beside the estimate, as an artifact; return them."""
    spending.refresh()
    lines = spending.meter.lines(spending.now())
    prices = spending.meter.prices
    actual = Actual(currency=prices.currency, lines=lines, estimate=spending.plan.estimate)
    create_markdown_artifact(
        compare(actual), key="cost", description="What the run cost, beside its estimate"
    )
    get_run_logger().info("the run cost %.2f %s", actual.total, actual.currency)
    return actual
