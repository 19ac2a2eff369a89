"""When what a run uses can no longer be had: the lifecycle table, and a day to hold against it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field

from finetuning.planning.tables import Table

#: An end that is nearer than this is warned of; a table that is older says so.
SOON = timedelta(days=90)


class Ending(BaseModel):
    """The day on which something retires, what to take instead, and where Azure says so."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    retires: date
    successor: str = Field(min_length=1)
    source: str = Field(min_length=1)


class Lifecycle(BaseModel):
    """The table, as it was on the day it was ``read``."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    read: date
    low_priority: Ending
    vm_families: dict[str, Ending]
    models: dict[str, Ending]
    components: dict[str, Ending]
    api_versions: dict[str, Ending]

    def family(self, name: str) -> Ending | None:
        """Return the end of a VM family, by Azure's id in whatever case."""
        return _folded(self.vm_families).get(name.lower())

    def model(self, name: str) -> Ending | None:
        """Return the end of a model; of the names that it begins with the longest counts."""
        known = _folded(self.models)
        fitting = [one for one in known if name.lower().startswith(one)]
        return known[max(fitting, key=len)] if fitting else None

    def component(self, name: str, version: str) -> Ending | None:
        """Return the end of a component's version."""
        return self.components.get(f"{name}:{version}")


def _folded(endings: Mapping[str, Ending]) -> dict[str, Ending]:
    return {name.lower(): ending for name, ending in endings.items()}


LIFECYCLE = Table(
    "lifecycle table",
    Path(__file__).with_name("lifecycle.toml"),
    Lifecycle,
    variable="FINETUNE_LIFECYCLE",
)


@dataclass(frozen=True)
class Calendar:
    """The table, and the day on which it is asked."""

    today: date
    table: Lifecycle

    def past(self, day: date) -> bool:
        """Whether the day has come."""
        return day <= self.today

    def soon(self, day: date) -> bool:
        """Whether the day is near, or has come."""
        return day - self.today <= SOON

    def days_to(self, day: date) -> int:
        """Return the days until then."""
        return (day - self.today).days

    def model_ends(self, name: str, own: date | None) -> Ending | None:
        """Return a model's end: the day that its card says, else the table's, if either does."""
        known = self.table.model(name)
        if own is None:
            return known
        successor = known.successor if known else "a newer model"
        return Ending(retires=own, successor=successor, source="the model's card")

    def ends_soon(self, family: str) -> Ending | None:
        """Return the end of a VM family where it is near, or has come."""
        ending = self.table.family(family)
        return ending if ending is not None and self.soon(ending.retires) else None


def todays_calendar() -> Calendar:
    """Return the table with the user's entries over it, and today (UTC).

    Raises:
        SettingsError: the user's table is missing, not TOML, or has an entry that means nothing.
    """
    return Calendar(datetime.now(UTC).date(), LIFECYCLE.load())
