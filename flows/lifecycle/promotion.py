"""How a promotion goes, and how it ends that does not come through: the traffic goes back.

First the traffic, then everything else: a process that is told to end may have seconds left. A run
that somebody begins again keeps its candidate, without traffic, and tries it anew. Otherwise the
candidate is deleted: by the process itself, else by the hooks of whoever watched it, else by the
reaper, which reads the endpoint's tags.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from prefect import Flow, State, get_run_logger
from prefect.client.orchestration import get_client
from prefect.client.schemas.objects import FlowRun
from prefect.logging.loggers import flow_run_logger

from finetuning.azure import naming
from finetuning.azure.ownership import Ownership
from finetuning.errors import CandidateFailed, DeploymentFailed
from finetuning.form.context import RunContext
from finetuning.form.promote import Promote
from finetuning.form.promotion import Promoted, StepReport
from finetuning.planning.promotion import Target, stages
from flows.lifecycle.cancellation import end_as_cancelled, watch_for_cancellation
from flows.lifecycle.cleanup import attempt, beyond_suspension, is_begun_again
from flows.lifecycle.runs import take_up
from flows.lifecycle.single_owner import step_back_if_begun_elsewhere
from tasks.connection import find_settings
from tasks.promotion import (
    begin_promotion,
    bring_up_candidate,
    product_endpoint,
    publish_promotion,
    return_traffic,
    settle_promotion,
    watch_candidate,
    withdraw_candidate,
)


def promote_model(
    context: RunContext, target: Target, spending: Callable[[], None] | None = None
) -> Promoted:
    """Let a registered model take the traffic by steps; return how that ended.

    ``spending`` is called while the steps last and may raise to end them. A candidate that is not
    good enough is an outcome; whatever else goes wrong is raised once the traffic is back.
    """
    product = begin_promotion(context, target)
    if not product.candidate:
        why = f"deployment '{product.serving}' serves it already"
        outcome = target.outcome(outcome="already there", why=why, serving=product.serving)
        return publish_promotion(outcome)
    steps: list[StepReport] = []
    returned = Returned()
    try:
        with traffic_returned(context, target.endpoint, returned):
            bring_up_candidate(context, target, product, spending)
            for stage in stages(target.rules, first=not product.serving):
                steps.append(watch_candidate(context, target, product, stage, spending))
            settled = settle_promotion(context, target, product)
    except (CandidateFailed, DeploymentFailed) as error:
        failed = target.outcome(
            outcome="returned",
            why=str(error),
            serving=product.serving,
            steps=steps,
            return_seconds=returned.seconds,
        )
        return publish_promotion(failed)
    promoted = target.outcome(
        outcome="promoted",
        why="every step was passed",
        serving=settled.serving,
        previous=settled.previous,
        steps=steps,
    )
    return publish_promotion(promoted)


@dataclass
class Returned:
    """How long it took until the old deployment had all the traffic again, in seconds."""

    seconds: float | None = None


@contextmanager
def traffic_returned(context: RunContext, endpoint: str, returned: Returned) -> Iterator[None]:
    """Whatever ends the body early: return the traffic, and take the candidate away.

    A run that will be begun again keeps its candidate. A failure keeps its own error.
    """
    try:
        yield
    except BaseException as first:
        log = get_run_logger()
        with beyond_suspension():
            began = time.monotonic()
            problems = [attempt(lambda: return_traffic(context, endpoint), log)]
            returned.seconds = round(time.monotonic() - began, 2)
            if not is_begun_again(first):
                problems.append(attempt(lambda: withdraw_candidate(context, endpoint), log))
        for problem in filter(None, problems):
            first.add_note(problem)
        raise


def _of_run(flow_run: FlowRun) -> tuple[RunContext, str]:
    """Return what the steps of a promotion's clean-up are handed, and its endpoint."""
    given = Promote.model_validate(flow_run.parameters["promotion"])
    key = naming.run_key(str(flow_run.id))
    owner = Ownership(flow_run_id=str(flow_run.id), key=key, tags={})
    settings = find_settings()
    context = RunContext(settings=settings, owner=owner, deadlines=given.deadlines)
    return context, product_endpoint(settings, given.model, given.endpoint)


def withdraw_cancelled(flow: Flow[..., Any], flow_run: FlowRun, state: State[Any]) -> None:
    """Hook: after a cancelled promotion the old deployment has the traffic, the new one is gone."""
    context, endpoint = _of_run(flow_run)
    attempt(lambda: withdraw_candidate(context, endpoint), flow_run_logger(flow_run, flow))


def return_and_take_up(flow: Flow[..., Any], flow_run: FlowRun, state: State[Any]) -> None:
    """Hook: after a crash return the traffic; then the run is taken up again, or cleaned up."""
    context, endpoint = _of_run(flow_run)
    log = flow_run_logger(flow_run, flow)
    attempt(lambda: return_traffic(context, endpoint), log)
    with get_client(sync_client=True) as client:
        if take_up(client, flow_run.id):
            log.warning("the promotion's process died: it is taken up again")
            return
    attempt(lambda: withdraw_candidate(context, endpoint), log)


#: The options of a supervised promotion: ``@flow(**PROMOTING)``.
PROMOTING: dict[str, Any] = {
    "persist_result": False,
    "on_running": [step_back_if_begun_elsewhere, watch_for_cancellation],
    "on_cancellation": [withdraw_cancelled],
    "on_crashed": [return_and_take_up, end_as_cancelled],
}
