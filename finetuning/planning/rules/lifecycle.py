"""Whether what a run uses can still be had, and for how long."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from finetuning.azure import rest
from finetuning.form.run import ComputeChoice
from finetuning.planning.facts import ComputeFacts
from finetuning.planning.findings import Report
from finetuning.planning.lifecycle import SOON, Calendar, Ending


@dataclass(frozen=True)
class Used:
    """What a run uses that can retire, beside its model; empty where it could not be settled."""

    compute: ComputeChoice
    serving: str
    component: str
    version: str

    def sizes(self) -> dict[str, str]:
        """Return the VM sizes on which something of the run is, by the parameter of each."""
        steps = self.compute.steps.chosen()
        named = {f"run.compute.steps.{name}": step.instance_type for name, step in steps.items()}
        if self.compute.uses_cluster:
            named["run.compute.size"] = self.compute.size
        named["run.endpoint.instance_type"] = self.serving
        return {parameter: size for parameter, size in named.items() if size}

    def named(self, calendar: Calendar) -> Iterator[tuple[str, Ending | None]]:
        """Yield the component and the API versions that this project calls, with their ends."""
        table = calendar.table
        yield (
            f"Component {self.component} {self.version}",
            table.component(self.component, self.version),
        )
        for version in (rest.WORKSPACE_API, rest.PERMISSIONS_API, rest.REGISTRY_API):
            yield f"Azure's API version {version}", table.api_versions.get(version)


def check_lifecycle(used: Used, facts: ComputeFacts, calendar: Calendar, report: Report) -> None:
    """Say what of a run can no longer be had, or not for long; its model's card says its own."""
    check_table(calendar, report)
    check_sizes(used.sizes(), facts, calendar, report)
    if used.compute.tier == "low_priority" and used.compute.name not in facts.clusters:
        low = calendar.table.low_priority
        check_end("The tier low_priority", low, f"Choose {low.successor}.", calendar, report)
    check_named(used.named(calendar), calendar, report)


def check_table(calendar: Calendar, report: Report) -> None:
    """Say how old the table is, where that is worth a word."""
    read = calendar.table.read
    if calendar.today - read > SOON:
        report.warn(
            f"The lifecycle table was read on {read}, {-calendar.days_to(read)} days ago: "
            "anything retired since then may be missing from it.",
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
