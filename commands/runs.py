"""Fine-tunes at the Prefect server: found, looked at, cancelled, and what they left to read."""

from __future__ import annotations

import json
import sys
import threading
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import UUID

import httpx
from prefect import State
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.filters import (
    FlowFilter,
    FlowFilterName,
    FlowRunFilter,
    FlowRunFilterExpectedStartTime,
    FlowRunFilterId,
    LogFilter,
    LogFilterFlowRunId,
)
from prefect.client.schemas.objects import FlowRun, Log
from prefect.client.schemas.responses import OrchestrationResult, SetStateStatus
from prefect.client.schemas.sorting import FlowRunSort, LogSort
from prefect.exceptions import ObjectNotFound
from prefect.states import Cancelling
from prefect.utilities.urls import url_for

from commands.exit_codes import of_state
from finetuning.planning.run_report import REPORT_INPUT, RunReport, as_html, as_markdown
from flows.lifecycle.context import FINE_TUNE
from flows.lifecycle.environment import need_server, use_env_file
from flows.lifecycle.events import names_on_azure

#: Among so many of the latest runs one is looked for by its name or the beginning of its id.
LATEST = 200
#: Seconds between two looks at a run that is followed.
LOOK_EVERY_S = 2.0


def server() -> SyncPrefectClient:
    """Return a client of the Prefect server, which answers.

    Raises:
        SystemExit: there is none, or it does not answer; says what to do.
    """
    use_env_file()
    need_server()
    return get_client(sync_client=True)


def find_run(client: SyncPrefectClient, wanted: str) -> FlowRun:
    """Return the fine-tune with this id, name or beginning of an id; ``last``: the latest.

    Raises:
        SystemExit: there is none, or there are several; says which.
    """
    try:
        return client.read_flow_run(UUID(wanted))
    except ValueError:
        pass  # no id: a name, or the beginning of an id
    except ObjectNotFound:
        sys.exit(f"There is no run {wanted} on this Prefect server.")
    latest = client.read_flow_runs(
        flow_filter=FlowFilter(name=FlowFilterName(any_=[FINE_TUNE])),
        flow_run_filter=FlowRunFilter(
            expected_start_time=FlowRunFilterExpectedStartTime(before_=datetime.now(UTC))
        ),
        sort=FlowRunSort.EXPECTED_START_TIME_DESC,
        limit=LATEST,
    )
    if wanted == "last":
        return latest[0] if latest else sys.exit("There is no fine-tune on this Prefect server.")
    found = [run for run in latest if run.name == wanted or str(run.id).startswith(wanted)]
    if len(found) == 1:
        return found[0]
    if found:
        names = "\n".join(f"  {run.id}  {run.name}" for run in found)
        sys.exit(f"'{wanted}' is ambiguous. Give more of the id:\n{names}")
    sys.exit(
        f"None of the {len(latest)} latest fine-tunes is called '{wanted}', or has an id that "
        "begins so. 'last' is the latest."
    )


def described(run: FlowRun) -> dict[str, Any]:
    """Return what is said of a run in a line or as JSON."""
    return {
        "flow_run_id": str(run.id),
        "name": run.name,
        "state": run.state.name if run.state else "unknown",
        "message": run.state.message if run.state else None,
        "began": run.start_time.isoformat() if run.start_time else None,
        "seconds": round(run.total_run_time.total_seconds(), 1),
        "page": url_for("flow-run", obj_id=run.id),
    }


def line(found: dict[str, Any]) -> str:
    """Return a run's id, state and name."""
    return f"{found['flow_run_id']}  {found['state']:<10}  {found['name']}"


def status(wanted: str) -> dict[str, Any]:
    """Return a run's state, its steps in the order in which they began, and its names on Azure."""
    with server() as client:
        run = find_run(client, wanted)
        steps = client.read_task_runs(
            flow_run_filter=FlowRunFilter(id=FlowRunFilterId(any_=[run.id])), limit=200
        )
    begun = sorted((one for one in steps if one.start_time), key=lambda one: str(one.start_time))
    return {
        **described(run),
        **names_on_azure(run),
        "steps": [
            {
                "step": one.name.rsplit("-", 1)[0],
                "state": one.state.name if one.state else "unknown",
                "seconds": round(one.total_run_time.total_seconds(), 1),
            }
            for one in begun
        ],
    }


def status_text(found: dict[str, Any]) -> str:
    """Return a run's status for a person."""
    lines = [line(found), *([f"  {found['message']}"] if found["message"] else [])]
    lines += [
        f"  {one['seconds']:>8.1f} s  {one['state']:<10}  {one['step']}" for one in found["steps"]
    ]
    return "\n".join(
        [
            *lines,
            f"  job       {found['job']}",
            f"  endpoint  {found['endpoint']}",
            f"  {found['page']}",
        ]
    )


def logs(wanted: str, *, follow: bool, as_json: bool) -> int:
    """Print a run's log, and with ``follow`` go on until it has ended; the exit code."""
    patience = threading.Event()
    with server() as client:
        run, seen = find_run(client, wanted), 0
        while True:
            run = client.read_flow_run(run.id)
            for one in _logs_after(client, run.id, seen):
                seen += 1
                print(_log_line(one, as_json=as_json), flush=True)
            ended = run.state is not None and run.state.is_final()
            if not follow or ended:
                return of_state(run.state) if follow else 0
            patience.wait(LOOK_EVERY_S)


def _logs_after(client: SyncPrefectClient, run: UUID, seen: int) -> Iterator[Log]:
    while True:
        page = client.read_logs(
            log_filter=LogFilter(flow_run_id=LogFilterFlowRunId(any_=[run])),
            limit=200,
            offset=seen,
            sort=LogSort.TIMESTAMP_ASC,
        )
        yield from page
        seen += len(page)
        if len(page) < 200:
            return


def _log_line(one: Log, *, as_json: bool) -> str:
    if as_json:
        return one.model_dump_json(include={"timestamp", "level", "name", "message"})
    return f"{one.timestamp:%H:%M:%S} {one.message}"


def cancel(wanted: str, *, wait: bool) -> dict[str, Any]:
    """Ask for a run's cancellation, and with ``wait`` return once it has ended.

    Raises:
        SystemExit: it has ended already, or the server refuses.
    """
    patience = threading.Event()
    with server() as client:
        run = find_run(client, wanted)
        if run.state is not None and run.state.is_final():
            sys.exit(f"Run {run.id} has ended already: {run.state.name}.")
        cancelling: State[Any] = Cancelling()
        answer: OrchestrationResult[Any] = client.set_flow_run_state(run.id, cancelling)
        if answer.status != SetStateStatus.ACCEPT:
            reason = getattr(answer.details, "reason", answer.status.value)
            sys.exit(f"Run {run.id} was not cancelled: {reason}.")
        run = client.read_flow_run(run.id)
        while wait and not (run.state is not None and run.state.is_final()):
            patience.wait(LOOK_EVERY_S)
            run = client.read_flow_run(run.id)
        return described(run)


def read_report(client: SyncPrefectClient, run: UUID) -> RunReport | None:
    """Return a run's report; None while it has none."""
    try:
        return RunReport.model_validate_json(client.read_flow_run_input(run, REPORT_INPUT))
    except httpx.HTTPStatusError as error:
        if error.response.status_code != 404:
            raise
        return None


def report(wanted: str, *, html: Path | None, as_json: bool) -> int:
    """Print a run's report, or write it as a page; the exit code.

    Raises:
        SystemExit: it has none yet, or the page cannot be written; says why.
    """
    with server() as client:
        run = find_run(client, wanted)
        found = read_report(client, run.id)
    if found is None:
        state = run.state.name if run.state else "unknown"
        sys.exit(
            f"Run {run.id} ({state}) has no report: one is written when a run ends. "
            f"'fine-tune status {run.id}' says how it stands."
        )
    if html is not None:
        try:
            html.write_text(as_html(found), encoding="utf-8")
        except OSError as error:
            sys.exit(f"{html} cannot be written: {error.strerror}.")
    if as_json:
        print(json.dumps(found.model_dump(mode="json"), indent=1))
    elif html is None:
        show(found)
    return 0


def show(found: RunReport) -> None:
    """Print a report: formatted in a terminal, as markdown where it is piped."""
    if not sys.stdout.isatty():
        print(as_markdown(found))
        return
    from rich.console import Console
    from rich.markdown import Markdown

    Console().print(Markdown(as_markdown(found)))
