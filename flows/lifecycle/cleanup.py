"""How a run ends that does not complete: what is cleaned up, by whom, and what is taken up again.

Three lines of defence. The flow's own guard (``guarded``) cleans up after
errors, time-outs, SIGTERM and Ctrl-C. The hooks below run in the process that watched the run when
it was cancelled or killed; they know only the flow run, and its names follow from that. Where that
process is gone too, the reaper finds what is left by its tags.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from logging import Logger, LoggerAdapter
from typing import Any

from prefect import Flow, State, get_run_logger
from prefect.client.orchestration import get_client
from prefect.client.schemas.objects import FlowRun
from prefect.exceptions import Pause
from prefect.futures import PrefectFuture
from prefect.logging.loggers import flow_run_logger

from finetuning.azure import naming
from finetuning.azure.ownership import Ownership
from finetuning.azure.service_errors import service_errors
from finetuning.errors import FineTuneError, KeyTaken
from finetuning.form.context import RunContext
from finetuning.planning.plan import Plan
from finetuning.planning.planner import endpoint_name
from flows.lifecycle.runs import read_parameters, take_up
from tasks.budget import Spending, report_costs
from tasks.connection import find_settings
from tasks.endpoint import create_endpoint, delete_endpoint
from tasks.training import cancel_training, stop_job

Log = Logger | LoggerAdapter[Any]


#: Flow runs whose body ran in this process: when one ends by a signal it has cleaned up itself.
_ran_here: set[str] = set()


def note_that_it_runs_here(flow: Flow[..., Any], flow_run: FlowRun, state: State[Any]) -> None:
    """Hook: tell this process, in which the body is about to run, from one that watches it."""
    _ran_here.add(str(flow_run.id))


class Guard:
    """What a run has begun, and what it spends: all that must have ended when the run ends."""

    def __init__(self, context: RunContext, plan: Plan) -> None:
        self.context, self.plan = context, plan
        self.spending = Spending(context.settings, plan)
        self.begun: list[PrefectFuture[Any]] = []
        self._endpoint: PrefectFuture[str] | None = None

    def begin_endpoint(self) -> PrefectFuture[str]:
        """Begin to create the endpoint, once; without a deployment it costs nothing."""
        if self._endpoint is None:
            self._endpoint = create_endpoint.submit(self.context, self.plan.serving.endpoint)
            self.begun.append(self._endpoint)
        return self._endpoint


@contextmanager
def guarded(context: RunContext, plan: Plan) -> Iterator[Guard]:
    """Delete the endpoint afterwards, unless it is to be kept; after a failure cancel the job too.

    A failure keeps its own error: what goes wrong while cleaning up is said beside it, loudly. What
    the run cost is reported however it ended.
    """
    guard = Guard(context, plan)
    made = Made(plan.job.name, plan.serving.endpoint)
    try:
        yield guard
        if not plan.serving.choice.keep:
            delete_endpoint(context, made.endpoint)
    except (Pause, KeyTaken):  # suspended: not an end; or what bears the names is another run's
        raise
    except BaseException as first:
        for problem in clean_up(context, made, guard.begun, get_run_logger()):
            first.add_note(problem)
        report_spending(guard.spending)
        raise
    report_spending(guard.spending)


def report_spending(spending: Spending) -> None:
    """Report what has been spent up to now; a report that fails is only said."""
    spending.serving_ended()
    try:
        report_costs(spending)
    except FineTuneError as error:
        get_run_logger().error("the cost could not be reported: %s", error)


@dataclass(frozen=True)
class Made:
    """The names of what a run makes and must not leave running."""

    job: str
    endpoint: str


def clean_up(
    context: RunContext, made: Made, begun: list[PrefectFuture[Any]], log: Log
) -> list[str]:
    """Cancel the job, delete the endpoint, wait for both; return what went wrong, in sentences.

    Both are asked for before anything is waited for: a process that is being stopped may have
    seconds left. A creation in ``begun`` that is still under way would outlive its deletion, so it
    is waited for, and the endpoint deleted once more.
    """

    def ask() -> object:
        with service_errors("Cancel the fine-tuning job"):
            return cancel_training(context.settings, made.job)

    def delete() -> object:
        return delete_endpoint(context, made.endpoint)

    def outlast() -> object:
        for future in begun:
            future.wait(context.deadlines.deletion_minutes * 60)
        return delete() if begun else None

    def stop() -> object:
        return stop_job(context, made.job)

    problems = [_attempt(step, log) for step in (ask, delete, outlast, stop)]
    return list(filter(None, problems[1:]))  # what the first could not ask, the last asks again


def _attempt(step: Callable[[], object], log: Log) -> str | None:
    try:
        step()
    except Exception as error:  # whatever it is: the next thing must still be cleaned up
        log.critical("%s", error, exc_info=not isinstance(error, FineTuneError))
        return str(error)
    return None


def clean_up_cancelled(flow: Flow[..., Any], flow_run: FlowRun, state: State[Any]) -> None:
    """Hook: clean up after a cancelled run, for what its own ``finally`` did not live to do."""
    _clean_up_after(flow, flow_run)


def take_up_or_clean_up(flow: Flow[..., Any], flow_run: FlowRun, state: State[Any]) -> None:
    """Hook: after a crash let the run go on where its job is, or clean up.

    A run that ended by a signal has cleaned up after itself, in this very process, and is over. One
    whose process was killed is begun again under its own id, and so finds its own job.
    """
    log = flow_run_logger(flow_run, flow)
    if str(flow_run.id) not in _ran_here:
        with get_client(sync_client=True) as client:
            if take_up(client, flow_run.id):
                log.warning("the run's process died: the run is taken up again")
                return
    _clean_up_after(flow, flow_run)


def _clean_up_after(flow: Flow[..., Any], flow_run: FlowRun) -> None:
    run = read_parameters(flow_run)
    key = naming.run_key(str(flow_run.id), run.key)
    owner = Ownership(flow_run_id=str(flow_run.id), key=key, tags={})
    context = RunContext(settings=find_settings(), owner=owner, deadlines=run.deadlines)
    log = flow_run_logger(flow_run, flow)
    problems = clean_up(context, Made(naming.job_name(key), endpoint_name(run, key)), [], log)
    log.info("cleaned up after the run at %s: %s", datetime.now(UTC), problems or "nothing is left")
