"""What a run really costs: held against the budget while it goes on, and reported afterwards."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, TypeVar

from prefect import get_run_logger
from prefect.artifacts import create_markdown_artifact

from finetuning.azure import naming
from finetuning.azure.client import open_client
from finetuning.azure.run_history import StepRun, get_steps, run_end
from finetuning.azure.service_errors import look_up, service_errors, state_text
from finetuning.azure.settings import Settings
from finetuning.errors import FineTuneError
from finetuning.planning.plan import Plan
from finetuning.planning.prices import Prices, load_prices
from finetuning.planning.spending import TRAINING, Actual, Meter, Metered, compare, step_nodes
from finetuning.recipes import find_recipe
from tasks.attempts import has_ended, newest_name
from tasks.step import azure_step

T = TypeVar("T")

#: What stands for the steps of a job that the run history does not know.
WHOLE_JOB = f"{TRAINING}: the whole job"
#: A job in one of these states has not begun to run, and bills nothing.
NOT_YET = ("NotStarted", "Queued", "Preparing", "Provisioning", "Starting")


class Spending:
    """Knows what a run has spent so far, on all of its attempts; call it wherever the run waits.

    A call asks Azure for the job's steps and raises once the budget is passed. Without a budget it
    asks only since when the deployment is there. All times come from Azure by name, so a restarted
    process goes on counting where the first one stopped.

    A budget that somebody set ends the run where the run history refuses to tell the steps. The
    default one does not: it is held by what is known.
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
        self._serving_until: float | None = None
        self._promoting_since: float | None = None
        self._deployment_found = False
        #: The newest attempt's name; looked up where nobody has told it.
        self.job: str | None = None
        #: The steps of the newest attempt, as the last look saw them.
        self.steps: list[StepRun] = []
        self._job_ended: dict[str, float] = {}
        self._counted: set[str] = set()
        self._steps_known: set[str] = set()
        self._told: set[str] = set()

    def __call__(self) -> None:
        """Look, and raise if the run has spent more than it may.

        Raises:
            BudgetExceeded: the flow's clean-up then cancels the job and deletes the endpoint.
        """
        if self.plan.budget is None:
            self._look_at_deployment()
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

    @property
    def spent(self) -> float | None:
        """What has been spent as far as the last look knows; None without a budget: none looks."""
        return None if self.plan.budget is None else self.meter.spent(self.now())

    def serving_began(self) -> None:
        """Count the endpoint's nodes from now on, or from when an earlier try created them."""
        self._serving_since = self._serving_since or self.now()
        self._meter_endpoint(None)

    def serving_ended(self) -> None:
        """Stop counting the endpoint's nodes; does nothing if there were none."""
        if self._serving_since is not None and self._serving_until is None:
            self._serving_until = self.now()
            self._meter_endpoint(self._serving_until)

    def promotion_began(self) -> None:
        """Count the candidate's nodes on the product endpoint from now on."""
        self._promoting_since = self._promoting_since or self.now()
        self._meter_promotion(None)

    def promotion_ended(self) -> None:
        """Stop counting them: from here they are the product's, or are gone."""
        self._meter_promotion(self.now())

    def _meter_promotion(self, ended: float | None) -> None:
        started = self._promoting_since or self.now()
        nodes = self.plan.serving.nodes
        self.meter.set(Metered(what="promotion", nodes=nodes, started=started, ended=ended))

    def _meter_endpoint(self, ended: float | None) -> None:
        self.meter.set(
            Metered(
                what="endpoint",
                nodes=self.plan.serving.nodes,
                started=self._serving_since or self.now(),
                ended=ended,
            )
        )

    def _look_at_deployment(self) -> None:
        """Count from the deployment's creation where that was earlier: it bills from then on."""
        if self._serving_since is None or self._serving_until or self._deployment_found:
            return
        serving = self.plan.serving
        get = open_client(self.settings).online_deployments.get
        found = look_up(get, serving.choice.deployment, serving.endpoint)
        if found is None:
            return
        self._deployment_found = True
        created = _unix(found.creation_context.created_at if found.creation_context else None)
        if created is not None and created < self._serving_since:
            self._serving_since = created
            self._meter_endpoint(None)

    def refresh(self) -> None:
        """Ask Azure when the job's steps began and ended, and since when the deployment is there.

        Where the run history knows no steps of a job that has been running, the job's own time on
        the training's nodes is counted, from its submission: at worst too dear.
        """
        self._look_at_deployment()
        if self.job is None:
            self.job = newest_name(open_client(self.settings), self.plan.job.name)
        for job in naming.attempts_until(self.job):
            if job not in self._counted:
                self._count(job)
            if job != self.job:  # another has followed it, so it has ended
                self._counted.add(job)

    def _count(self, name: str) -> None:
        recipe, own = find_recipe(self.plan.recipe), self.plan.compute.choice.steps
        steps = self._asked(get_steps, name)
        self.steps = steps or []
        if steps is None and name in self._steps_known:
            return
        if not steps:
            self._count_whole_job(name)
            return
        self._steps_known.add(name)
        self.meter.forget(_of_attempt(WHOLE_JOB, name))
        for step in steps:
            if step.started is not None:
                nodes = step_nodes(recipe.step(step.name), self.plan.job.nodes, own)
                what = _of_attempt(f"{TRAINING}: {step.name}", name)
                self.meter.set(
                    Metered(what=what, nodes=nodes, started=step.started, ended=step.ended)
                )

    def _asked(self, ask: Callable[[Settings, str], T | None], name: str) -> T | None:
        """Ask the run history of a job; None where it refuses and the budget is the default one."""
        if not self.plan.default_budget:
            return ask(self.settings, name)
        try:
            with service_errors("Read the job's times"):
                return ask(self.settings, name)
        except FineTuneError as error:
            self._tell("the default budget is enforced with what is known about the job: %s", error)
            return None

    def _tell(self, text: str, *values: object) -> None:
        """Warn once of each thing."""
        if text not in self._told:
            self._told.add(text)
            get_run_logger().warning(text, *values)

    def _count_whole_job(self, name: str) -> None:
        job = look_up(open_client(self.settings).jobs.get, name)
        status = state_text(job.status) if job is not None else NOT_YET[0]
        context = job.creation_context if job is not None else None
        created = _unix(context.created_at if context else None)
        if status in NOT_YET or created is None:
            return
        self._tell(
            "the run history shows no steps of job %s (%s): the whole job is counted, on all of "
            "the training's nodes",
            name,
            status,
        )
        if has_ended(status) and name not in self._job_ended:
            self._job_ended[name] = self._asked(run_end, name) or self.now()
        ended = self._job_ended.get(name)
        what = _of_attempt(WHOLE_JOB, name)
        self.meter.set(Metered(what=what, nodes=self.plan.job.nodes, started=created, ended=ended))


def _of_attempt(what: str, job: str) -> str:
    """Return what is counted, with the attempt's number where it is not the first."""
    number = naming.attempt_number(job)
    return what if number == 1 else f"{what}, attempt {number}"


def _unix(moment: Any) -> float | None:
    """Return a moment of Azure's as unix seconds; without a zone it is UTC."""
    if isinstance(moment, str):
        moment = datetime.fromisoformat(moment)
    if not isinstance(moment, datetime):
        return None
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()


@azure_step("Report the cost", retries=0)  # a report: it waits for nobody
def report_costs(spending: Spending) -> Actual:
    """Write node-hours and endpoint-hours beside the estimate, as an artifact; return them.

    Where the job's times cannot be read any more, those that are known are reported.
    """
    try:
        with service_errors("Read the job's times"):
            spending.refresh()
    except FineTuneError as error:
        get_run_logger().warning("the cost may be out of date: %s", error)
    lines = spending.meter.lines(spending.now())
    prices = spending.meter.prices
    actual = Actual(currency=prices.currency, lines=lines, estimate=spending.plan.estimate)
    create_markdown_artifact(
        compare(actual), key="cost", description="What the run cost, beside its estimate"
    )
    get_run_logger().info("the run cost %.2f %s", actual.total, actual.currency)
    return actual
