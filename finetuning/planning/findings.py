"""What a gate finds: an error, which stops the run, a warning, or a note; and what to change."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal

from pydantic import BaseModel, ConfigDict

Gate = Literal[
    "recipe",
    "lifecycle",
    "credential",
    "key",
    "model",
    "component",
    "parameters",
    "compute",
    "data",
    "endpoint",
    "evaluation",
    "money",
    "report",
]


Level = Literal["error", "warning", "note"]


LEVELS: tuple[Level, ...] = ("error", "warning", "note")


class Finding(BaseModel):
    """One thing that a gate found: ``what`` is a sentence with the value, ``change`` the remedy."""

    model_config = ConfigDict(frozen=True)

    gate: Gate
    level: Level
    what: str
    change: str

    def __str__(self) -> str:
        return f"{self.gate}: {self.what} {self.change}"


class Report:
    """What one gate has to say, in the order in which it found it."""

    def __init__(self, gate: Gate) -> None:
        self.gate: Gate = gate
        self.findings: list[Finding] = []

    def error(self, what: str, change: str) -> None:
        """Say what stops the run."""
        self._add("error", what, change)

    def warn(self, what: str, change: str) -> None:
        """Say what may go wrong."""
        self._add("warning", what, change)

    def note(self, what: str, change: str = "Nothing to change.") -> None:
        """Say what is worth knowing."""
        self._add("note", what, change)

    def _add(self, level: Level, what: str, change: str) -> None:
        self.findings.append(Finding(gate=self.gate, level=level, what=what, change=change))


def errors(findings: Iterable[Finding]) -> list[Finding]:
    """Return those that stop the run."""
    return [one for one in findings if one.level == "error"]


def by_weight(findings: Iterable[Finding]) -> list[Finding]:
    """Return errors first, then warnings, then notes; within a level the order stays."""
    return sorted(findings, key=lambda one: LEVELS.index(one.level))
