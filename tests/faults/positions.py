"""Which requests a run makes, so that the same one can be found again in another run.

Requests go out at once and their order differs from run to run. So a request is known by method,
path with the run's own parts left out, and how often that was asked before: its occurrence.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

#: How many occurrences of the same request are hit: polls are asked again and again, all alike.
OCCURRENCES = 2

_VARIABLE = "{}"
# Parts of a path that differ between two runs or two emulators; the order matters.
_PATTERNS = [
    re.compile(pattern)
    for pattern in (
        r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}",
        r"(?<=/)[0-9a-f]{16,}(?=/|$|\.)",
        r"(?<=[-/_])[0-9a-f]{10}(?=/|$|-|_|\.)",
        r"(?<=/LocalUpload/)[^/]+",
    )
]


@dataclass(frozen=True, order=True)
class Position:
    """One request of a run: ``path`` has ``{}`` for what differs; ``occurrence`` begins at 0."""

    host: str
    method: str
    path: str
    occurrence: int

    @property
    def pattern(self) -> str:
        """A regular expression for the path in any run."""
        return "^" + r"[^/]+".join(re.escape(part) for part in self.path.split(_VARIABLE)) + "$"

    def __str__(self) -> str:
        return f"{self.method} {self.host} {self.path} #{self.occurrence}"


def positions_of(requests: Iterable[dict[str, Any]], own: Iterable[str]) -> list[Position]:
    """Return the positions of a run's requests, in the order in which they first came.

    ``requests`` is the emulator's journal; ``own`` are names that only this run has (its cluster).
    """
    seen: Counter[tuple[str, str, str]] = Counter()
    found = []
    for request in requests:
        known = (kind_of_host(request["host"]), request["method"], template(request["path"], own))
        if known[2].startswith("/_emulator"):
            continue
        if seen[known] < OCCURRENCES:
            found.append(Position(*known, occurrence=seen[known]))
        seen[known] += 1
    return found


def template(path: str, own: Iterable[str]) -> str:
    """Return the path with ``{}`` for everything that differs between two runs."""
    for name in own:
        path = path.replace(name, _VARIABLE)
    for pattern in _PATTERNS:
        path = pattern.sub(_VARIABLE, path)
    return path


def kind_of_host(host: str) -> str:
    """Return what a host is for, without the emulator's own part of its name."""
    if ".blob." in host:
        return "blob"
    if ".inference." in host:
        return "scoring"
    return host.split(".")[0] if host[:1].isalpha() and "." in host else "plain"


def host_pattern(kind: str) -> str:
    """Return a regular expression for the hosts of a kind."""
    return {"blob": r"\.blob\.", "scoring": r"\.inference\.", "plain": r"^(127\.|localhost)"}.get(
        kind, rf"^{re.escape(kind)}\."
    )
