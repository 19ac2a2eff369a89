"""The line between the stand-in and its clients: how fast it is, what went over it, what breaks.

All connections share one line, as they share a machine's network card.
"""

from __future__ import annotations

import asyncio
import re
import time
from dataclasses import dataclass, field

#: Bytes of one piece on the line: a held line stays even, a free one is fast.
PIECE = 512 * 1024


@dataclass
class Fault:
    """What goes wrong with the next ``times`` downloads whose path matches.

    ``drop`` closes the connection after ``after_bytes`` of the answer, ``truncate`` answers as if
    the file ended there, ``no_ranges`` ignores the Range header, as a plain file server does.
    """

    kind: str
    path: str = ""
    after_bytes: int = 0
    times: int = 1

    def __post_init__(self) -> None:
        if self.kind not in ("drop", "truncate", "no_ranges"):
            raise ValueError(f"kind '{self.kind}' is none of drop, truncate, no_ranges")
        re.compile(self.path)


@dataclass
class Link:
    """A line with an optional speed in bytes a second; counts what it carried."""

    bytes_per_second: float | None = None
    sent: int = 0
    requests: int = 0
    faults: list[Fault] = field(default_factory=list)
    _free_at: float = 0.0

    async def carry(self, size: int) -> None:
        """Take the line for ``size`` bytes: returns when they have passed, then counts them."""
        if self.bytes_per_second:
            begin = max(self._free_at, time.monotonic())
            self._free_at = begin + size / self.bytes_per_second
            await asyncio.sleep(self._free_at - time.monotonic())
        self.sent += size

    def fault(self, path: str) -> Fault | None:
        """Return the first fault that is set for this path, and use it up."""
        for fault in self.faults:
            if fault.times > 0 and re.search(fault.path, path):
                fault.times -= 1
                return fault
        return None
