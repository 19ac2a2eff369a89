"""A plan as markdown, for the UI's artifact and for a terminal."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from finetuning.planning.findings import Finding, errors
from finetuning.planning.parameters import Parameter
from finetuning.planning.plan import PlanReport
from finetuning.planning.prices import CostLine, Estimate

MARKS = {"error": "❌ error", "warning": "⚠️ warning", "note": "note"}


def as_markdown(report: PlanReport) -> str:
    """Return the whole report: findings, what would be created, cost, parameters."""
    parts = [
        f"# {verdict(report)}",
        "## Findings",
        _findings(report.findings),
        "## What would be created",
        table(
            ["kind", "name", "detail"],
            [[one.kind, one.name, one.detail] for one in report.would_create],
        ),
        *_candidates(report),
        "## Estimated cost",
        cost_text(report.estimate, _limit_text(report)),
        "## Parameters",
        table(["name", "value", "origin"], parameter_rows(report.parameters)),
    ]
    return "\n\n".join(parts)


def _candidates(report: PlanReport) -> list[str]:
    """Return the table of the sizes that the plan chose from; nothing where there were none."""
    if not report.candidates:
        return []
    taken = report.plan.compute.choice.size if report.plan else None
    head = ["size", "allowed", "offered", "free vCPUs", "retires", "an hour", "hours", "training"]
    rows = [
        [
            one.size,
            _yes(one.allowed),
            _yes(one.offered),
            "unknown" if one.quota_free is None else str(one.quota_free),
            one.retires or "not soon",
            _number(one.per_hour),
            _number(one.hours),
            _number(one.total),
            one.against or ("taken" if one.size == taken else "could be had"),
        ]
        for one in report.candidates
    ]
    return ["## Candidates", table([*head, "verdict"], rows)]


def _yes(value: bool | None) -> str:
    return "unknown" if value is None else "yes" if value else "no"


def _number(value: float | None) -> str:
    return "unknown" if value is None else f"{value:.2f}"


def verdict(report: PlanReport) -> str:
    """Return the plan's outcome in one line."""
    count = len(errors(report.findings))
    if count:
        return f"The plan is refused: {count} error{'s' if count > 1 else ''}. Nothing is created."
    return "The plan is ready."


def _findings(findings: Iterable[Finding]) -> str:
    """Return them as a list, errors first: a table of such texts is cut off in the UI."""
    ranked = sorted(findings, key=lambda one: list(MARKS).index(one.level))
    return "\n".join(map(_finding, ranked)) or "None."


def _finding(one: Finding) -> str:
    what, change = " ".join(one.what.split()), " ".join(one.change.split())
    return f"- {MARKS[one.level]}, **{one.gate}**: {what}" + (f" **{change}**" if change else "")


def parameter_rows(parameters: Iterable[Parameter]) -> list[list[str]]:
    """Return name, value and origin of every parameter."""
    return [[one.name, str(one.value), one.origin] for one in parameters]


def _limit_text(report: PlanReport) -> str:
    """Return the most that can be spent, and what sets it."""
    if report.budget is None:
        return "Nothing limits what the run spends but its deadlines (run.budget is 0)."
    currency = f" {report.estimate.currency}" if report.estimate else ""
    origin = "the default; 0: no limit" if report.default_budget else "chosen"
    return (
        f"The run can spend at most **{report.budget:.2f}{currency}** (run.budget, {origin}): "
        "then its job is cancelled and its endpoint is deleted."
    )


def cost_text(estimate: Estimate | None, limit: str) -> str:
    """Return the estimate as a table with its source, or why there is none; and the limit."""
    if estimate is None:
        return f"There is no estimate, because the data could not be read. {limit}"
    gaps = f" Not included: {'; '.join(estimate.unknown)}." if estimate.unknown else ""
    return (
        f"{cost_table(estimate.lines, estimate.currency)}\n\n"
        f"Total **{estimate.total:.2f} {estimate.currency}** for {estimate.tokens:,.0f} tokens in "
        f"{estimate.steps} steps.{gaps} Prices: {estimate.source}, {estimate.date}.\n\n{limit}"
    )


def cost_table(lines: Iterable[CostLine], currency: str) -> str:
    """Return cost lines as a table."""
    rows = [
        [
            line.what,
            line.size,
            f"{line.node_hours:.3f}",
            f"{line.per_hour:.2f}",
            f"{line.cost:.2f}",
        ]
        for line in lines
    ]
    return table(["what", "size", "node-hours", f"{currency} an hour", currency], rows)


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a markdown table; bars and line breaks inside cells are kept harmless."""
    lines = [list(head), ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(_cell(one) for one in line) + " |" for line in lines)


def _cell(text: str) -> str:
    return " ".join(text.replace("|", "\\|").split())
