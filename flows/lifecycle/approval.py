"""Approval: a run that suspends until a person has said in Prefect's UI that it may go on.

Nothing that bills runs while it waits, and no process. What is asked has no default, so that
nothing but an answer lets it go on; where nobody answers in time, the poller (``flows/resume.py``)
answers that it is refused. A run that begins again with an answer reads it, and is not asked twice;
one that is retried on purpose is.
"""

from __future__ import annotations

from math import ceil
from typing import Any, Literal, TypeVar

from prefect import get_run_logger
from prefect.flow_runs import suspend_flow_run
from prefect.input import RunInput
from prefect.runtime import deployment
from pydantic import Field

from finetuning.errors import NotApproved, SettingsError
from finetuning.evaluation.report import as_markdown
from finetuning.form.context import RunContext
from finetuning.form.run import FineTune
from finetuning.form.verdict import Verdict
from finetuning.planning.plan import Plan
from finetuning.planning.report import cost_table
from flows.lifecycle.runs import GRACE

#: The answer that the poller gives where nobody else has.
UNANSWERED = {"decision": "refuse", "reason": "nobody answered in time"}

A = TypeVar("A", bound="Answer")


class Answer(RunInput):
    """Whether the run may go on."""

    decision: Literal["approve", "refuse"] = Field(description="Whether the run may go on.")
    reason: str = Field("", max_length=1000, description="Why, for whoever reads the run later.")


class SpendAnswer(Answer):
    """Whether the run may spend what it plans to."""

    budget: float | None = Field(
        None, ge=0, description="Another budget for this run. Empty: as planned. 0: no limit."
    )


def refuse_to_ask_alone(run: FineTune) -> None:
    """Refuse, before anything is created, a run that could never be answered.

    Raises:
        SettingsError: it is to ask, but has no deployment that could begin it again.
    """
    asks = [*run.approve, *(["promote"] if run.promotion.when == "ask" else [])]
    if asks and deployment.id is None:
        raise SettingsError(
            f"The run asks for approval ({', '.join(sorted(set(asks)))}), but it has no deployment "
            "that could be resumed. Trigger the deployment fine-tune/run, or leave approve empty "
            "and promotion.when other than 'ask'."
        )


def approved_plan(context: RunContext, plan: Plan) -> Plan:
    """Return the plan that somebody has approved, with the budget of the answer.

    Raises:
        Pause: nobody has answered yet; Prefect's signal that ends the process.
        NotApproved: it is refused, or nobody answered in time.
    """
    if "spend" not in plan.approve:
        return plan
    answer = _ask(context, "spend", SpendAnswer, _plan_text(plan), plan.approve_hours)
    if answer.budget is None:
        return plan
    changed = {"budget": answer.budget or None, "default_budget": False}
    return plan.model_copy(update=changed)


def approve_promotion(context: RunContext, plan: Plan, verdict: Verdict | None) -> None:
    """Return once somebody has approved that the model takes traffic; at once if nobody is asked.

    Raises:
        Pause: nobody has answered yet.
        NotApproved: it is refused, or nobody answered in time.
    """
    if asks_for_promotion(plan):
        text = as_markdown(verdict) if verdict is not None else "The model was not evaluated."
        _ask(context, "promote", Answer, text, plan.approve_hours)


def asks_for_promotion(plan: Plan) -> bool:
    """Return whether a person decides about the promotion."""
    rules = plan.promotion
    return rules is not None and (rules.when == "ask" or "promote" in plan.approve)


def _ask(context: RunContext, what: str, form: type[A], text: str, hours: float) -> A:
    """Return the answer, or suspend until there is one. Prefect keeps both beside the run.

    The key says which question it is and of which try: Prefect gives a run that begins again the
    answer that it has for the key.
    """
    answer: Any = suspend_flow_run(
        wait_for_input=form.with_initial_data(description=text),
        timeout=ceil(hours * 3600 + GRACE.total_seconds()),
        key=f"approve-{what}-{context.retries}",
    )
    get_run_logger().info("%s: %s (%s)", what, answer.decision, answer.reason or "no reason given")
    if answer.decision != "approve":
        raise NotApproved(what, answer.reason)
    found: A = answer
    return found


def _plan_text(plan: Plan) -> str:
    estimate, job = plan.estimate, plan.job
    budget = "no limit" if plan.budget is None else f"{plan.budget:g}"
    cost = f"{estimate.total:.2f} {estimate.currency}" if estimate else "an unknown amount"
    lines = [
        f"# May this run spend about {cost}?",
        f"{job.model.name} version {job.model.version}, {job.display_name}. Budget: {budget}.",
        cost_table(estimate.lines, estimate.currency) if estimate else "",
        "The whole plan is the artifact `plan` of this run. Nothing has been spent.",
    ]
    return "\n\n".join(filter(None, lines))
