"""The plan: every gate asked at once, and one report of what they found."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import Any

from prefect import task
from prefect.cache_policies import CacheKeyFnPolicy
from prefect.context import TaskRunContext

from finetuning.azure.client import open_client
from finetuning.azure.settings import Settings
from finetuning.conversations.write import digest_of_inputs, pinned
from finetuning.errors import FineTuneError, PlanRefused, SettingsError
from finetuning.form.context import RunContext
from finetuning.form.run import FineTune
from finetuning.planning.facts import Facts
from finetuning.planning.findings import Finding, Gate, errors
from finetuning.planning.lifecycle import todays_calendar
from finetuning.planning.plan import Plan, PlanReport
from finetuning.planning.planner import Tables, endpoint_name, make_plan
from finetuning.planning.prices import load_prices
from finetuning.recipes import recipe_for
from tasks.component import check_component
from tasks.compute import look_at_compute
from tasks.connection import check_credential
from tasks.data import look_at_data
from tasks.endpoint import look_at_endpoint
from tasks.evaluation import look_at_suites
from tasks.kept_results import KEPT
from tasks.model import check_model
from tasks.reports import publish_plan
from tasks.step import REPEATED
from tasks.training import check_key

#: Begins a gate with what it is given, and returns its future.
Begin = Callable[..., Any]


def plan_key(context: TaskRunContext, parameters: dict[str, Any]) -> str:  # noqa: ARG001
    """Return the cache's key: a run that begins again keeps what it was settled to."""
    run: FineTune = parameters["run"]
    digest = hashlib.sha256(run.model_dump_json().encode()).hexdigest()
    return f"plan-{parameters['context'].owner.flow_run_id}-{digest}"


@task(
    name="Pin the plan",
    cache_policy=CacheKeyFnPolicy(cache_key_fn=plan_key),
    **{**REPEATED, **KEPT},
)
def settle_plan(context: RunContext, run: FineTune) -> Plan:
    """Run every gate and settle the run: once, however often this flow run begins again.

    A label such as ``latest`` or a dataset's branch may name another thing by the morning; the job
    of the night was trained from what is pinned here. An error anywhere creates nothing.

    Raises:
        PlanRefused: names every error and what to change.
    """
    report = ask_gates(context.settings, run, context.owner.key)
    publish_plan(report)
    if report.plan is None:
        raise PlanRefused([str(error) for error in errors(report.findings)])
    data = pinned(run.data)
    content = digest_of_inputs(data, context.settings)
    return report.plan.model_copy(update={"data": data, "content": content})


def submit(gate: Any, *arguments: Any) -> Any:
    """Begin a gate as a task run of the flow; its future."""
    return gate.submit(*arguments)


def ask_gates(settings: Settings, run: FineTune, key: str, begin: Begin = submit) -> PlanReport:
    """Run every gate at once, and plan with the facts that they bring back.

    Raises:
        SettingsError, CredentialError: there is no way to the workspace at all.
    """
    prices = load_prices()
    try:
        recipe = recipe_for(run.recipe, run.data)
    except SettingsError as error:  # what the gates ask for follows from it
        return PlanReport(findings=[failed_gate("recipe", error)])
    try:
        tables = Tables(prices, todays_calendar())
    except SettingsError as error:  # nothing may begin that nobody can say still lives
        return PlanReport(findings=[failed_gate("lifecycle", error)])
    open_client(settings)  # once, here: the gates' threads then import nothing and ask no browser
    gates: dict[str, tuple[Gate, Any]] = {
        "credential": ("credential", begin(check_credential, settings, run)),
        "model": ("model", begin(check_model, settings, run.model, run.recipe)),
        "component": ("component", begin(check_component, settings, recipe.component)),
        "compute": ("compute", begin(look_at_compute, settings, run.compute)),
        "endpoint": ("endpoint", begin(look_at_endpoint, settings, endpoint_name(run, key))),
        "splits": ("data", begin(_data_gate(run), settings, run.data, _max_length(run))),
    }
    if run.evaluation.on:
        suites = begin(look_at_suites, settings, run.evaluation)
        gates["suites"] = ("evaluation", suites)
    on_key = begin(check_key, settings, run, key)
    facts: dict[str, Any] = {}
    findings: list[Finding] = []
    try:
        findings += on_key.result()
    except FineTuneError as error:
        findings.append(failed_gate("key", error))
    for name, (gate, future) in gates.items():
        try:
            facts[name] = future.result()
        except FineTuneError as error:
            findings.append(failed_gate(gate, error))
    return make_plan(run, recipe, key, Facts(**facts, findings=findings), tables)


def _data_gate(run: FineTune) -> Any:
    """Return the gate that looks at the data: cached, or anew where it says ``refresh``."""
    return look_at_data.with_options(refresh_cache=True) if run.data.refresh else look_at_data


def _max_length(run: FineTune) -> int | None:
    """Return the longest sequence in tokens, where the user limits it."""
    chosen = str(run.parameters.other.get("max_seq_length", ""))
    return int(chosen) if chosen.isdigit() else None


def failed_gate(gate: Gate, error: FineTuneError) -> Finding:
    """Return the finding of a gate that could not look."""
    return Finding(gate=gate, level="error", what=str(error), change="Fix it, then plan again.")
