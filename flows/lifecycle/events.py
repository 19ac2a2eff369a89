"""What a run tells the outside when it has ended: events with its durations and its names on Azure.

They are Prefect events, so that automations, the event feed and whatever subscribes to it see them.
"""

from __future__ import annotations

from datetime import UTC, datetime
from itertools import pairwise
from typing import Any
from uuid import UUID

from prefect import Flow, State
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterId
from prefect.client.schemas.objects import FlowRun
from prefect.context import FlowRunContext
from prefect.events import emit_event
from prefect.settings import get_current_settings

from finetuning.azure import naming, ownership
from finetuning.azure.ownership import Decision
from finetuning.errors import BudgetExceeded
from finetuning.planning.plan import Plan
from finetuning.planning.planner import endpoint_name
from flows.lifecycle.runs import read_parameters

RUN_ENDED = "fine-tune.run.ended"


BUDGET_EXCEEDED = "fine-tune.budget.exceeded"


ENDPOINT_EXPIRED = "fine-tune.endpoint.expired"


MODEL_RETIRES = "fine-tune.model.retires"


#: Steps that only wait for Azure.
WAITS = ("Wait for the fine-tuning job",)


def names_on_azure(flow_run: FlowRun) -> dict[str, str]:
    """Return the job and the endpoint of a run, by whose names Azure's own logs are searched.

    The job is the first attempt; the names of those after it begin with its name.
    """
    run = read_parameters(flow_run)
    key = naming.run_key(str(flow_run.id), run.key)
    return {
        "job": naming.job_name(key),
        "endpoint": endpoint_name(run, key),
    }


def run_of_job(job: str, tags: object) -> UUID | None:
    """Return the flow run that a job was submitted by; None if its tags do not say that it is ours.

    A pipeline's steps may bear its tags: only the job itself has the name that follows from them.
    """
    if not isinstance(tags, dict):
        return None
    try:
        named = naming.job_name(tags[ownership.KEY_TAG])
        return UUID(tags[ownership.RUN_TAG]) if naming.first_attempt(job) == named else None
    except (KeyError, ValueError, TypeError):
        return None


def step_seconds(flow_run_id: UUID) -> dict[str, float]:
    """Return how long each task of a flow run took, in the order in which they began."""
    wanted = FlowRunFilter(id=FlowRunFilterId(any_=[flow_run_id]))
    with get_client(sync_client=True) as client:
        runs = client.read_task_runs(flow_run_filter=wanted, limit=200)
    begun = sorted((run for run in runs if run.start_time), key=lambda run: str(run.start_time))
    return {
        run.name.rsplit("-", 1)[0]: round(run.total_run_time.total_seconds(), 2) for run in begun
    }


def suspended_seconds(flow_run_id: UUID) -> float:
    """Return for how long a run has had no process, waiting for its job."""
    with get_client(sync_client=True) as client:
        states = client.read_flow_run_states(flow_run_id)
    begun = sorted(states, key=lambda state: state.timestamp)
    return sum(
        (later.timestamp - state.timestamp).total_seconds()
        for state, later in pairwise(begun)
        if state.is_paused()
    )


def tell_how_it_ended(flow: Flow[..., Any], flow_run: FlowRun, state: State[Any]) -> None:
    """Hook: emit the run's steps with their seconds, its waiting, and its names on Azure."""
    steps = step_seconds(flow_run.id)
    about = {
        **names_on_azure(flow_run),
        "state": state.name,
        "steps": steps,
        "waiting_seconds": round(
            sum(steps.get(name, 0.0) for name in WAITS) + suspended_seconds(flow_run.id), 2
        ),
        "queued_seconds": _seconds(flow_run.expected_start_time, flow_run.start_time),
    }
    _emit(RUN_ENDED, flow_run, about)
    if _is_over_budget(state):
        _emit(BUDGET_EXCEEDED, flow_run, {**names_on_azure(flow_run), "message": state.message})


def tell_of_expired(decisions: list[Decision]) -> None:
    """Emit an event for each endpoint that outlived its expiry, whoever is to remove it."""
    for one in decisions:
        if one.found.kind == "endpoint" and one.expired:
            emit_event(
                event=ENDPOINT_EXPIRED,
                resource={
                    "prefect.resource.id": f"azure-ml.endpoint.{one.found.name}",
                    "prefect.resource.name": one.found.name,
                },
                payload={"why": one.why, "created": one.found.created.isoformat()},
            )


def tell_of_retirement(plan: Plan) -> None:
    """Emit an event where a scheduled run's model retires while its schedule plans further runs.

    How far that is Prefect's own scheduler says: 100 days, unless its server is told otherwise.
    """
    context, ending = FlowRunContext.get(), plan.job.model_ends
    run = context.flow_run if context else None
    if run is None or not run.auto_scheduled or ending is None:
        return
    horizon = get_current_settings().server.services.scheduler.max_scheduled_time
    if ending.retires > datetime.now(UTC).date() + horizon:
        return
    model = f"{plan.job.model.name}:{plan.job.model.version}"
    about = {"model": model, "retires": ending.retires.isoformat()}
    _emit(MODEL_RETIRES, run, {**about, "successor": ending.successor, "source": ending.source})


def _is_over_budget(state: State[Any]) -> bool:
    return state.is_failed() and BudgetExceeded.__name__ in (state.message or "")


def _emit(event: str, flow_run: FlowRun, payload: dict[str, Any]) -> None:
    emit_event(
        event=event,
        resource={
            "prefect.resource.id": f"prefect.flow-run.{flow_run.id}",
            "prefect.resource.name": flow_run.name,
        },
        payload=payload,
    )


def _seconds(due: datetime | None, begun: datetime | None) -> float:
    return round((begun - due).total_seconds(), 2) if due and begun else 0.0
