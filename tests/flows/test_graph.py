"""The lines between a run's steps in the UI: from what a step waits for, and nothing else."""

from __future__ import annotations

from prefect import flow
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterId
from prefect.context import FlowRunContext

from finetuning.form.context import RunContext
from finetuning.planning.plan import Plan
from tasks.step import azure_step
from tests.conftest import RunningEmulator
from tests.support.plans import plan_of
from tests.support.runs import context_of, small


@azure_step("Plan it")
def plan_it(context: RunContext) -> Plan:
    return plan_of(small("drawn"))


@azure_step("Prepare it")
def prepare_it(context: RunContext, plan: Plan) -> list[str]:
    assert isinstance(plan, Plan) and isinstance(context, RunContext)
    return [plan.job.name]


@azure_step("Submit it")
def submit_it(context: RunContext, plan: Plan, prepared: list[str]) -> str:
    assert isinstance(plan, Plan)
    return prepared[0]


def test_a_step_is_joined_to_what_it_waits_for_and_not_to_what_it_is_handed(
    azure_env: RunningEmulator, prefect_server: None
) -> None:
    @flow
    def drawn() -> str:
        context = context_of(small("drawn"))
        plan = plan_it(context)
        prepared = prepare_it.submit(context, plan=plan, wait_for=[plan])
        submit_it(context, plan, prepared)
        run = FlowRunContext.get()
        assert run is not None and run.flow_run is not None
        return str(run.flow_run.id)

    lines = lines_of(drawn())

    assert lines == {
        "Plan it": set(),
        "Prepare it": {"Plan it"},
        "Submit it": {"Prepare it"},
    }


def lines_of(flow_run_id: str) -> dict[str, set[str]]:
    """From which steps lines lead to each step of a run, by their names."""
    wanted = FlowRunFilter(id=FlowRunFilterId.model_validate({"any_": [flow_run_id]}))
    with get_client(sync_client=True) as client:
        runs = client.read_task_runs(flow_run_filter=wanted, limit=200)
    names = {one.id: one.name.rsplit("-", 1)[0] for one in runs}
    return {
        names[one.id]: {
            names[source.id]  # type: ignore[union-attr]
            for inputs in one.task_inputs.values()
            for source in inputs
            if source.input_type == "task_run"
        }
        for one in runs
    }
