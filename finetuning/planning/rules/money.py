"""Whether a run is within its budget, before it begins."""

from __future__ import annotations

from finetuning.planning.findings import Report
from finetuning.planning.prices import Estimate


def check_money(found: Estimate, budget: float | None, report: Report) -> None:
    """Hold the estimate against the budget; without a budget only say what it is."""
    for missing in found.unknown:
        what = f"The estimate lacks {missing}: the price table does not say."
        change = "Add the size to your prices.toml, or choose another."
        if budget is None:
            report.warn(what, change)
        else:
            report.error(f"{what} A budget of {budget:.2f} cannot be held.", change)
    if budget is not None and found.total > budget:
        report.error(
            f"The run is estimated at {found.total:.2f} {found.currency}, above its budget of "
            f"{budget:.2f}.",
            "Raise run.budget, train on fewer rows or epochs, or choose a cheaper size.",
        )
    report.note(
        f"Estimated cost {found.total:.2f} {found.currency} for {found.tokens:,.0f} tokens, "
        f"from {found.source}, {found.date}.",
        "Override prices and throughput in prices.toml.",
    )
