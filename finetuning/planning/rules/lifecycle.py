"""Whether what a run uses can still be had, and for how long."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from finetuning.planning.facts import ComputeFacts
from finetuning.planning.findings import Report
from finetuning.planning.lifecycle import SOON, Calendar, Ending


def check_table(calendar: Calendar, report: Report) -> None:
    """Say how old the table is, where that is worth a word."""
    read = calendar.table.read
    if calendar.today - read > SOON:
        report.warn(
            f"The lifecycle table was read on {read}, {-calendar.days_to(read)} days ago: what "
            "retires since may be missing from it.",
            "Read its sources again (finetuning/planning/lifecycle.toml), and set 'read' in your "
            "lifecycle.toml.",
        )


def check_sizes(
    sizes: Mapping[str, str], facts: ComputeFacts, calendar: Calendar, report: Report
) -> None:
    """Say which VM sizes can no longer be had; ``sizes`` are by the parameter that names them."""
    for parameter, name in sizes.items():
        size = facts.size(name)
        ending = calendar.table.family(size.family) if size is not None else None
        if ending is not None:
            check_end(
                f"VM size {name} ({parameter})",
                ending,
                f"Choose another with {parameter}: {ending.successor}.",
                calendar,
                report,
            )


def check_named(
    used: Iterable[tuple[str, Ending | None]], calendar: Calendar, report: Report
) -> None:
    """Say which components and API versions can no longer be had."""
    for what, ending in used:
        if ending is not None:
            check_end(what, ending, f"Move to {ending.successor}.", calendar, report)


def check_end(what: str, ending: Ending, change: str, calendar: Calendar, report: Report) -> None:
    """Refuse what is past its day, and warn where that is near."""
    day = ending.retires
    if calendar.past(day):
        report.error(f"{what} was retired on {day}.", change)
    elif calendar.soon(day):
        report.warn(f"{what} retires on {day}, in {calendar.days_to(day)} days.", change)
