"""How a run ends that does not complete: what is cleaned up, by whom, and what is taken up again.

Three lines of defence. The flow's own ``finally`` (``nothing_left_running``) cleans up after
errors, time-outs, SIGTERM and Ctrl-C. The hooks below run in the process that watched the run when
it was cancelled or killed; they know only the flow run, and its names follow from that. Where that
process is gone too, the reaper finds what is left by its tags.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
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
from finetuning.azure.settings import Settings
from finetuning.errors import FineTuneError
from finetuning.form.run import Deadlines, FineTune
from flows.lifecycle.runs import read_parameters, take_up
from tasks.connection import find_settings
from tasks.endpoint import delete_endpoint
from tasks.training import cancel_training, stop_job

Log = Logger | LoggerAdapter[Any]


#: Flow runs whose body ran in this process: when one ends by a signal it has cleaned up itself.
_ran_here: set[str] = set()


def note_that_it_runs_here(flow: Flow[..., Any], flow_run: FlowRun, state: State[Any]) -> None:
    """Hook: tell this process, in which the body is about to run, from one that watches it."""
    _ran_here.add(str(flow_run.id))


@contextmanager
def nothing_left_running(
    settings: Settings, run: FineTune, job: str, endpoint: str, owner: Ownership
) -> Iterator[list[PrefectFuture[Any]]]:
    """Delete the endpoint afterwards, unless it is to be kept; after a failure cancel the job too.

    What the body begins and does not wait for goes into the list: a creation that is still under
    way would otherwise outlive its deletion. A failure keeps its own error: what goes wrong while
    cleaning up is said beside it, loudly.
    """
    begun: list[PrefectFuture[Any]] = []
    try:
        yield begun
    except Pause:  # suspended while its job trains: not an end
        raise
    except BaseException as first:
        for problem in clean_up(
            settings, job, endpoint, owner, run.deadlines, begun, get_run_logger()
        ):
            first.add_note(problem)
        raise
    if not run.endpoint.keep:
        delete_endpoint(settings, endpoint, owner, run.deadlines)


def clean_up(
    settings: Settings,
    job: str,
    endpoint: str,
    owner: Ownership,
    deadlines: Deadlines,
    begun: list[PrefectFuture[Any]],
    log: Log,
) -> list[str]:
    """Cancel the job, delete the endpoint, wait for both; return what went wrong, in sentences.

    Both are asked for before anything is waited for: a process that is being stopped may have
    seconds left.
    """

    def ask() -> object:
        with service_errors("Cancel the fine-tuning job"):
            return cancel_training(settings, job)

    def delete() -> object:
        return delete_endpoint(settings, endpoint, owner, deadlines)

    def outlast() -> object:
        for future in begun:
            future.wait(deadlines.deletion_minutes * 60)
        return delete() if begun else None

    def stop() -> object:
        return stop_job(settings, job, deadlines)

    problems = [_attempt(step, log) for step in (ask, delete, outlast, stop)]
    return [one for one in problems[1:] if one]  # what the first could not ask, the last asks again


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
    log = flow_run_logger(flow_run, flow)
    problems = clean_up(
        find_settings(),
        naming.job_name(key),
        naming.endpoint_name(key, run.endpoint.name),
        owner,
        run.deadlines,
        [],
        log,
    )
    log.info("cleaned up after the run at %s: %s", datetime.now(UTC), problems or "nothing is left")
