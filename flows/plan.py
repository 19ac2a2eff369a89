"""Plan a fine-tune: run every gate, say what would be created and what it costs, create nothing."""

import hashlib
import os
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

from prefect import flow
from prefect.cache_policies import CacheKeyFnPolicy
from prefect.context import TaskRunContext
from prefect.logging import disable_run_logger
from prefect.runtime import flow_run
from prefect.settings import get_current_settings

from finetuning.azure import naming
from finetuning.azure.client import open_client, preload
from finetuning.azure.ownership import Ownership
from finetuning.azure.settings import Settings, load_settings
from finetuning.errors import FineTuneError, PlanRefused
from finetuning.form.command_line import read_run
from finetuning.form.run import FineTune
from finetuning.planning.facts import Facts
from finetuning.planning.findings import Finding, Gate, errors
from finetuning.planning.plan import Plan, PlanReport
from finetuning.planning.planner import draft, names_of
from finetuning.planning.prices import load_prices
from flows.lifecycle.environment import need_server, use_env_file
from tasks.component import check_component
from tasks.compute import look_at_compute
from tasks.connection import check_credential, find_settings
from tasks.data import look_at_data
from tasks.endpoint import look_at_endpoint
from tasks.model import check_model
from tasks.reports import publish_plan, show, write_report
from tasks.step import step


def run_name() -> str:
    """Return what the UI calls a plan: model, data, when."""
    run: FineTune = flow_run.parameters["run"]
    when = datetime.now(UTC).strftime("%Y-%m-%d %H:%M")
    return f"plan · {run.model.name} · {run.data.dataset.split('/')[-1]} · {when}"


@flow(name="plan", flow_run_name=run_name, validate_parameters=True)
def plan(run: FineTune = FineTune()) -> PlanReport:  # noqa: B008  # frozen; the UI's form shows it
    """Tell in seconds what a fine-tune would create and cost, and what is wrong with it."""
    try:
        settings = find_settings()
        found = draft_plan(settings, run, naming.run_key(str(flow_run.id), run.key))
    except FineTuneError as error:  # there is no way to the workspace: nothing else can be asked
        found = PlanReport(findings=[_failed("credential", error)])
    publish_plan(found)
    write_report(found)
    return found


def plan_key(context: TaskRunContext, parameters: dict[str, Any]) -> str:  # noqa: ARG001
    """Return the cache's key: a run that begins again keeps what it was settled to."""
    run: FineTune = parameters["run"]
    digest = hashlib.sha256(run.model_dump_json().encode()).hexdigest()
    return f"plan-{parameters['owner'].flow_run_id}-{digest}"


@step(
    "Pin the plan",
    cache_policy=CacheKeyFnPolicy(cache_key_fn=plan_key),
    persist_result=True,
)
def settle_plan(settings: Settings, run: FineTune, owner: Ownership) -> Plan:
    """Run every gate and settle the run: once, however often this flow run begins again.

    A label such as ``latest`` may name another model by the morning; the job of the night was
    trained from the one that is pinned here. An error anywhere creates nothing.

    Raises:
        PlanRefused: names every error and what to change.
    """
    found = draft_plan(settings, run, owner.key)
    publish_plan(found)
    if found.plan is None:
        raise PlanRefused([str(one) for one in errors(found.findings)])
    return found.plan


def submit(gate: Any, *given: Any) -> Any:
    """Begin a gate as a task run of the flow; its future."""
    return gate.submit(*given)


def draft_plan(
    settings: Settings, run: FineTune, key: str, begin: Callable[..., Any] = submit
) -> PlanReport:
    """Run every gate at once, and draw the plan from what they bring back.

    ``begin`` starts a gate with what it is given, and returns its future.

    Raises:
        SettingsError, CredentialError: there is no way to the workspace at all.
    """
    prices = load_prices()
    open_client(settings)  # once, here: the gates' threads then import nothing and ask no browser
    gates: dict[str, tuple[Gate, Any]] = {
        "credential": ("credential", begin(check_credential, settings, run)),
        "model": ("model", begin(check_model, settings, run.model)),
        "component": ("component", begin(check_component, settings)),
        "compute": ("compute", begin(look_at_compute, settings, run.compute)),
        "endpoint": ("endpoint", begin(look_at_endpoint, settings, names_of(run, key).endpoint)),
        "splits": ("data", begin(looking(run), settings, run.data, max_length(run))),
    }
    facts: dict[str, Any] = {}
    findings: list[Finding] = []
    for name, (gate, future) in gates.items():
        try:
            facts[name] = future.result()
        except FineTuneError as error:
            findings.append(_failed(gate, error))
    return draft(run, key, Facts(**facts, findings=findings), prices)


def looking(run: FineTune) -> Any:
    """Return the gate that looks at the data: cached, or anew where it says ``refresh``."""
    return look_at_data.with_options(refresh_cache=True) if run.data.refresh else look_at_data


def max_length(run: FineTune) -> int | None:
    """Return the longest sequence in tokens, where the user limits it."""
    chosen = str(run.parameters.other.get("max_seq_length", ""))
    return int(chosen) if chosen.isdigit() else None


def _failed(gate: Gate, error: FineTuneError) -> Finding:
    return Finding(gate=gate, level="error", what=str(error), change="Mend that and plan again.")


def plan_alone(run: FineTune) -> PlanReport:
    """Plan without a Prefect server, which would take longer to start than all gates together.

    The same gates and the same report; only there are no artifacts, which nobody could look at.
    """
    key = naming.run_key(uuid4().hex, run.key)
    with disable_run_logger(), ThreadPoolExecutor() as pool:
        try:
            found = draft_plan(
                load_settings(), run, key, lambda gate, *given: pool.submit(gate.fn, *given)
            )
        except FineTuneError as error:
            found = PlanReport(findings=[_failed("credential", error)])
    write_report(found)
    return found


def main(argv: list[str], show_draft: Callable[[PlanReport], None] = show) -> int:
    """Plan, print the report, and return 1 where there is an error.

    With a Prefect server (``PREFECT_API_URL``) the plan is a flow run there, with its artifacts.
    """
    run = read_run(argv, "python -m flows.plan", str(plan.__doc__))
    use_env_file()
    if get_current_settings().api.url or os.environ.get("FINETUNE_BLOCK"):
        need_server()  # which also has the blocks
    with ThreadPoolExecutor(1) as beside:  # while this thread asks for the settings
        beside.submit(preload)
        found = plan(run) if get_current_settings().api.url else plan_alone(run)
    show_draft(found)
    return 1 if errors(found.findings) else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
