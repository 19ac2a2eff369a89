"""The report of a run, made when it ends, however it ends. A report that fails is only said."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import httpx
from prefect import get_run_logger
from prefect.context import FlowRunContext
from prefect.exceptions import PrefectException, TerminationSignal
from prefect.runtime import flow_run

from finetuning.errors import FineTuneError
from finetuning.form.promotion import Promoted
from finetuning.form.results import Served, SubmittedJob, Trained
from finetuning.form.verdict import Verdict
from finetuning.planning.plan import Plan
from finetuning.planning.run_report import Outcome, RunReport
from finetuning.planning.spending import Actual
from flows.lifecycle.events import step_seconds
from tasks.reports import publish_report

#: By what kind of value a report knows what the run came to.
PARTS: dict[type[Any], str] = {
    Plan: "plan",
    SubmittedJob: "job",
    Trained: "trained",
    Served: "served",
    Verdict: "verdict",
    Promoted: "promotion",
    Actual: "spent",
}


def report_end(noted: Iterable[Any], error: BaseException | None, left: list[str]) -> None:
    """Publish the report of this flow run, of what its steps brought back.

    ``left``: what the clean-up could not remove, in sentences.
    """
    known = {PARTS[type(one)]: one for one in noted if type(one) in PARTS}
    try:
        publish_report(
            RunReport(
                flow_run_id=str(flow_run.id),
                name=str(flow_run.name),
                outcome=_outcome(error),
                error=str(error) if error else None,
                error_class=type(error).__name__ if isinstance(error, FineTuneError) else None,
                began=_began(),
                ended=datetime.now(UTC),
                steps=_steps(),
                left=left,
                **known,
            )
        )
    except Exception as failed:  # whatever it is: the run has ended as it ended
        get_run_logger().error("the report could not be written: %s", failed)


def _outcome(error: BaseException | None) -> Outcome:
    if error is None:
        return "completed"
    return "cancelled" if isinstance(error, TerminationSignal | KeyboardInterrupt) else "failed"


def _began() -> datetime:
    context = FlowRunContext.get()
    return (context.start_time if context else None) or datetime.now(UTC)


def _steps() -> dict[str, float]:
    try:
        return step_seconds(UUID(str(flow_run.id)))
    except (httpx.HTTPError, PrefectException):  # the server does not answer
        return {}
