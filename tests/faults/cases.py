"""The kinds of fault, the cases of a sweep, and what came of a case."""

from __future__ import annotations

import random
import zlib
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any

from tests.faults.positions import Position, host_pattern

#: Seconds after which the flow's process gives a hung request up in a sweep (190 s otherwise), and
#: how long the emulator lets it hang.
GIVES_UP_S, HANGS_S = 8, 20

FAULTS: dict[str, dict[str, Any]] = {
    "429": {"kind": "status", "status": 429, "code": "TooManyRequests", "retry_after": 1},
    "500": {"kind": "status", "status": 500, "code": "InternalServerError"},
    "503": {"kind": "status", "status": 503, "code": "ServiceUnavailable"},
    "403": {"kind": "status", "status": 403, "code": "AuthorizationFailed"},
    "reset before": {"kind": "reset_before"},
    "reset after": {"kind": "reset_after"},
    "time-out": {"kind": "timeout", "seconds": HANGS_S},
    "kill before": {"kind": "hold_before"},
    "kill after": {"kind": "hold_after"},
}
MESSAGE = "The sweep put this fault here."


@dataclass(frozen=True)
class Case:
    """One fault at one request."""

    position: Position
    fault: str

    @property
    def name(self) -> str:
        return f"{self.position} × {self.fault}"

    @property
    def kills(self) -> bool:
        return self.fault.startswith("kill")

    def for_emulator(self) -> dict[str, Any]:
        """The fault in the terms of the emulator's admin route."""
        return {
            "method": self.position.method,
            "path": self.position.pattern,
            "host": host_pattern(self.position.host),
            "skip": self.position.occurrence,
            "times": 1,
            "message": MESSAGE,
            **FAULTS[self.fault],
        }


@dataclass
class Outcome:
    """A row of the matrix.

    ``state``: how the run with the fault ended (``Killed`` where its process was). ``again``: how
    the run after it ended. ``jobs``: how many training jobs were started in all. ``left``: what
    still ran at the end. ``secret``: which kind of secret was in a log, if one was.
    """

    name: str
    host: str
    method: str
    path: str
    occurrence: int
    fault: str
    hit: bool
    state: str
    message: str
    names_cause: bool
    again: str | None
    jobs: int
    left: list[str]
    secret: str | None
    seconds: float

    @property
    def verdict(self) -> str:
        """One word: what the case shows."""
        if not self.hit:
            return "not hit"
        if self.jobs > 1:
            return "job twice"
        if self.left:
            return "left running"
        if self.secret:
            return "secret seen"
        if self.state == "Failed":
            return "failed with cause" if self.names_cause else "failed without cause"
        if self.state == "Killed":
            return "completed" if self.again == "Completed" else f"then {self.again}"
        return self.state.lower()

    def row(self) -> dict[str, Any]:
        return {**asdict(self), "verdict": self.verdict}


def all_cases(positions: Iterable[Position]) -> list[Case]:
    """Return every case, in an order that is the same every time and mixes all kinds.

    A sweep that is stopped half-way has then seen a fair sample of requests and faults.
    """
    cases = [Case(position, fault) for position in positions for fault in FAULTS]
    return sorted(cases, key=lambda case: zlib.crc32(case.name.encode()))


def sample(cases: list[Case], count: int, seed: int = 0) -> list[Case]:
    """Return a few cases: of each fault at least one, as far as ``count`` reaches."""
    shuffled = random.Random(seed).sample(cases, len(cases))
    by_fault = {fault: [one for one in shuffled if one.fault == fault] for fault in FAULTS}
    picked: list[Case] = []
    while len(picked) < min(count, len(cases)):
        for rest in by_fault.values():
            if rest and len(picked) < count:
                picked.append(rest.pop())
    return picked
