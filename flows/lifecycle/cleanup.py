"""How a run ends that does not complete: who cleans up, what is let go, what is taken up again.

A process lets go, or cleans, never both. Where somebody will begin the run again (its process was
told to end, by an eviction or a restart, and the run was not cancelled), job and endpoint are left
as they are, to be adopted. Otherwise there are three lines of defence. The flow's own guard
(``guarded``) cleans up after errors, time-outs, cancellation and Ctrl-C. The hooks below run in the
process that watched the run when it was cancelled or killed; they know only the flow run, and its
names follow from that. Where that process is gone too, the reaper finds what is left by its tags.
"""

from __future__ import annotations

import math
import signal
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from logging import Logger, LoggerAdapter
from typing import Any, TypeVar
from uuid import UUID

from prefect import Flow, State, get_run_logger
from prefect.client.orchestration import get_client
from prefect.client.schemas.objects import FlowRun
from prefect.context import FlowRunContext
from prefect.exceptions import Pause, TerminationSignal
from prefect.futures import PrefectFuture
from prefect.logging.loggers import flow_run_logger
from prefect.runtime import flow_run

from finetuning.azure import naming
from finetuning.azure.client import open_client
from finetuning.azure.ownership import Ownership
from finetuning.azure.service_errors import service_errors
from finetuning.errors import FineTuneError, KeyTaken
from finetuning.form.context import RunContext
from finetuning.form.results import SubmittedJob
from finetuning.form.run import FineTune
from finetuning.planning.plan import Plan
from finetuning.planning.planner import endpoint_name
from flows.lifecycle.cancellation import stops_by_itself
from flows.lifecycle.report import report_end
from flows.lifecycle.runs import (
    ends_as_cancelled,
    is_cancelled,
    read_parameters,
    state_at,
    take_up,
)
from tasks.attempts import newest_name
from tasks.budget import Spending, report_costs
from tasks.connection import find_settings
from tasks.endpoint import create_endpoint, delete_endpoint
from tasks.promotion import product_of, return_traffic, withdraw_candidate
from tasks.training import cancel_training, stop_job

Log = Logger | LoggerAdapter[Any]
Noted = TypeVar("Noted")


@dataclass(frozen=True)
class Made:
    """The names of what a run makes and must not leave running.

    ``job``: one of its attempts; those before it have ended.
    """

    job: str
    endpoint: str


def made_by(run: FineTune, key: str) -> Made:
    """Return the names of what the run with this key makes."""
    return Made(naming.job_name(key), endpoint_name(run, key))


class Guard:
    """What a run has begun, and what it spends: all that must have ended when the run ends.

    Call ``watch`` wherever the run waits: it raises where waiting on makes no sense.
    """

    def __init__(self, context: RunContext, made: Made) -> None:
        self.context, self.made = context, made
        self.begun: list[PrefectFuture[Any]] = []
        self._endpoint: PrefectFuture[str] | None = None
        self.spending: Spending | None = None
        self.serves = False
        #: Before its plan is settled, a run that never began before has made nothing.
        self.may_have_made = context.begun_before
        #: What the run's steps brought back, for its report.
        self.noted: list[Any] = []

    def note(self, found: Noted) -> Noted:
        """Keep what a step brought back for the run's report, and return it."""
        if found is not None:
            self.noted.append(found)
        return found

    def follow(self, plan: Plan) -> Plan:
        """Count what the plan costs from now on; what follows may make something."""
        self.spending = Spending(self.context.settings, plan)
        self.may_have_made = True
        return self.note(plan)

    def training_began(self, job: SubmittedJob) -> None:
        """Look after this job from now on: the newest of the run's attempts."""
        self.note(job)
        self.made = replace(self.made, job=job.name)
        if self.spending is not None:
            self.spending.job = job.name

    def begin_endpoint(self) -> PrefectFuture[str]:
        """Begin to create the endpoint, once; without a deployment it costs nothing."""
        if self._endpoint is None:
            self._endpoint = create_endpoint.submit(
                self.context, self.made.endpoint, wait_for=self.noted[-1:], return_state=False
            )
            self.begun.append(self._endpoint)
        return self._endpoint

    def outlast_begun(self, seconds: float) -> None:
        """Wait for what was begun, no longer than this."""
        for future in self.begun:
            future.wait(seconds)

    def watch(self) -> None:
        """Raise what ends the run early.

        Raises:
            Pause: the run was suspended by hand, which Prefect itself acts on between two steps
                only.
            BudgetExceeded: it has spent more than it may.
            EndpointError, ServiceError: its endpoint could not be created; training for hours would
                not change that.
        """
        if (flow := FlowRunContext.get()) is not None:
            flow.flow_run_suspension_request.raise_if_requested()
        if self._endpoint is not None and self._endpoint.state.is_failed():
            self._endpoint.result()
        if self.spending is not None:
            self.spending()

    def serving_began(self) -> None:
        """Count the endpoint's nodes from now on."""
        self.serves = True
        if self.spending is not None:
            self.spending.serving_began()

    def serving_over(self) -> None:
        """Delete the run's own endpoint before its end: what it was for is done."""
        self.outlast_begun(self.context.deadlines.deployment_minutes * 60)
        delete_endpoint(self.context, self.made.endpoint)
        self.serves = False
        if self.spending is not None:
            self.spending.serving_ended()

    @contextmanager
    def promoting(self) -> Iterator[None]:
        """Count the candidate's nodes while the promotion lasts."""
        if self.spending is None:
            yield
            return
        self.spending.promotion_began()
        try:
            yield
        finally:
            self.spending.promotion_ended()

    def seconds_left(self) -> float:
        """Return for how long the job may go on before the budget can be passed."""
        return math.inf if self.spending is None else self.spending.seconds_left()

    def spent(self) -> float | None:
        """Return what the run has cost as far as the last look knows; None where nobody counts."""
        return None if self.spending is None else self.spending.spent

    def report(self, error: BaseException | None = None, left: Iterable[str] = ()) -> None:
        """Report what the run cost and what it came to; a report that fails is only said."""
        self._report_spending()
        report_end(self.noted, error, list(left))

    def _report_spending(self) -> None:
        if self.spending is None:
            return
        self.spending.serving_ended()
        try:
            self.note(report_costs(self.spending))
        except FineTuneError as error:
            get_run_logger().error("the cost could not be reported: %s", error)


@contextmanager
def guarded(context: RunContext, run: FineTune) -> Iterator[Guard]:
    """Delete the endpoint afterwards, unless it is to be kept; after a failure cancel the job too.

    It begins before the first call that can fail. A failure keeps its own error: what goes wrong
    while cleaning up is said beside it, loudly. What it cost and came to is reported in any case.
    """
    guard = Guard(context, made_by(run, context.owner.key))
    try:
        yield guard
        if not run.endpoint.keep:
            delete_endpoint(context, guard.made.endpoint, wait_for=guard.noted[-1:])
    except KeyTaken as taken:  # what bears the names is another run's, and so is what it costs
        report_end(guard.noted, taken, [])
        raise
    except Pause:  # not an end
        with beyond_suspension():
            _leave_suspended(guard, run)
        raise
    except BaseException as first:
        if is_begun_again(first):
            get_run_logger().warning(
                "this process was told to stop. It leaves job %s and endpoint %s as they are, "
                "for the process that continues the run",
                guard.made.job,
                guard.made.endpoint,
            )
            raise
        with beyond_suspension():
            problems: list[str] = []
            if guard.may_have_made:
                problems = clean_up(context, guard.made, guard.begun, get_run_logger())
                for problem in problems:
                    first.add_note(problem)
            guard.report(first, problems)
        raise
    guard.report()


def _leave_suspended(guard: Guard, run: FineTune) -> None:
    """Leave of a suspended run its job, and nothing that bills beside it.

    One that was cancelled before its process noticed is Cancelled already, and nobody else would
    clean up after it. One that was resumed meanwhile is left to the process that goes on.
    """
    log, run_id = get_run_logger(), UUID(str(flow_run.id))
    with get_client(sync_client=True) as client:
        state = state_at(client, run_id)
    if ends_as_cancelled(state):
        stops_by_itself(run_id)
        log.warning("the run was suspended and then cancelled: this process cleans up")
        problems = clean_up(guard.context, guard.made, guard.begun, log)
        guard.report(TerminationSignal(signal.SIGTERM), problems)
    elif guard.serves and state is not None and state.is_paused():
        log.warning("suspended while it serves: the endpoint is deleted, and made again later")
        attempt(lambda: delete_endpoint(guard.context, guard.made.endpoint), log)


@contextmanager
def beyond_suspension() -> Iterator[None]:
    """Let the steps of the clean-up begin: Prefect begins none of a run that is to suspend."""
    flow = FlowRunContext.get()
    if flow is None:
        yield
        return
    unasked = type(flow.flow_run_suspension_request)()
    with flow.model_copy(update={"flow_run_suspension_request": unasked}):
        yield


def is_begun_again(error: BaseException) -> bool:
    """Return whether somebody will begin this run again after its process has ended so.

    SIGTERM is how hosts, workers, containers and runners end a process: an eviction, a restart, and
    also a cancellation, of which Prefect's server knows. Where it does not answer, nothing says
    that the run is cancelled: it is let go, and the reaper looks later. Ctrl-C, and a script that
    no deployment would begin again, are over.
    """
    if not isinstance(error, TerminationSignal) or not _has_deployment():
        return False
    return not is_cancelled(UUID(str(flow_run.id)))


def _has_deployment() -> bool:
    """Return whether the run is a deployment's; Prefect's own runtime would ask its server."""
    context = FlowRunContext.get()
    run = context.flow_run if context else None
    return run is not None and run.deployment_id is not None


def clean_up(
    context: RunContext, made: Made, begun: list[PrefectFuture[Any]], log: Log
) -> list[str]:
    """Cancel the job, delete the endpoint, wait for both; return what went wrong, in sentences.

    Both are asked for before anything is waited for: a process that is being stopped may have
    seconds left. A creation in ``begun`` that is still under way would outlive its deletion, so it
    is waited for, and the endpoint deleted once more.
    """

    def newest() -> str:
        with service_errors("Look for the run's newest job"):
            return newest_name(open_client(context.settings), made.job)

    def ask() -> object:
        with service_errors("Cancel the fine-tuning job"):
            return cancel_training(context.settings, newest())

    def delete() -> object:
        return delete_endpoint(context, made.endpoint)

    def outlast() -> object:
        for future in begun:
            future.wait(context.deadlines.deletion_minutes * 60)
        return delete() if begun else None

    def stop() -> object:
        return stop_job(context, newest())

    problems = [attempt(step, log) for step in (ask, delete, outlast, stop)]
    return list(filter(None, problems[1:]))  # what the first could not ask, the last asks again


def attempt(step: Callable[[], object], log: Log) -> str | None:
    """Do it; return what went wrong, which is said loudly and stops nothing else."""
    try:
        step()
    except Exception as error:  # whatever it is: the next thing must still be cleaned up
        log.critical("%s", error, exc_info=not isinstance(error, FineTuneError))
        return str(error)
    return None


def clean_up_cancelled(flow: Flow[..., Any], flow_run: FlowRun, state: State[Any]) -> None:
    """Hook: clean up after a cancelled run, for what its own guard did not live to do."""
    _clean_up_after(flow, flow_run)


def take_up_or_clean_up(flow: Flow[..., Any], flow_run: FlowRun, state: State[Any]) -> None:
    """Hook: after a crash let the run go on where its job is, or clean up.

    A run whose process was killed or told to end is begun again under its own id, and so finds its
    own job. Where nobody would begin it again, what it made is removed.
    """
    log = flow_run_logger(flow_run, flow)
    _return_traffic_of(flow_run, log)
    with get_client(sync_client=True) as client:
        if take_up(client, flow_run.id):
            log.warning("the run's process died: the run is taken up again")
            return
    _clean_up_after(flow, flow_run)


def _return_traffic_of(flow_run: FlowRun, log: Log) -> None:
    """Give the traffic of a product endpoint back before anything else, whoever goes on."""
    run = read_parameters(flow_run)
    if run.promotion.on:
        context = _context_of(flow_run, run)
        attempt(lambda: return_traffic(context, product_of(context.settings, run)), log)


def _context_of(flow_run: FlowRun, run: FineTune) -> RunContext:
    key = naming.run_key(str(flow_run.id), run.key)
    owner = Ownership(flow_run_id=str(flow_run.id), key=key, tags={})
    return RunContext(settings=find_settings(), owner=owner, deadlines=run.deadlines)


def _clean_up_after(flow: Flow[..., Any], flow_run: FlowRun) -> None:
    run = read_parameters(flow_run)
    context, log = _context_of(flow_run, run), flow_run_logger(flow_run, flow)
    if run.promotion.on:
        attempt(lambda: withdraw_candidate(context, product_of(context.settings, run)), log)
    problems = clean_up(context, made_by(run, context.owner.key), [], log)
    log.info("cleaned up after the run at %s: %s", datetime.now(UTC), problems or "nothing is left")
