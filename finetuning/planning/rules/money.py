"""Whether a run is within its budget, before it begins."""

from __future__ import annotations

from finetuning.planning.findings import Report
from finetuning.planning.prices import Estimate


def check_money(
    found: Estimate, budget: float | None, report: Report, *, by_default: bool = False
) -> None:
    """Hold the estimate against the budget; without a budget only say what it is.

    What has no price cannot be held against it. Who set a budget relies on it, so that is an error;
    the default one (``by_default``) is not worth a run that could be made without it.
    """
    for missing in found.unknown:
        what = f"The estimate does not include {missing}: it is not in the price table."
        change = "Add the size to your prices.toml, or choose another size."
        if budget is None:
            report.warn(what, change)
        else:
            say = report.warn if by_default else report.error
            say(f"{what} The budget of {budget:.2f} cannot be enforced.", change)
    if budget is not None and found.total > budget:
        report.error(
            f"The run is estimated at {found.total:.2f} {found.currency}, above its "
            f"{'default ' if by_default else ''}budget of {budget:.2f}.",
            "Raise run.budget (0: no limit), train on fewer rows or epochs, or choose a cheaper "
            "size.",
        )
    report.note(
        f"Estimated cost: {found.total:.2f} {found.currency} for {found.tokens:,.0f} tokens. "
        f"Prices: {found.source}, {found.date}.",
        "Your own prices.toml can replace prices and speeds.",
    )
