"""What Linux knows of processes: who descends from whom, their memory, their CPU seconds."""

from __future__ import annotations

import os
import signal
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

PROC = Path("/proc")
TICKS = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True)
class Memory:
    """Memory of some processes in MB: ``pss`` shares what several map, ``uss`` is theirs alone."""

    pss: float
    uss: float


def descendants(pid: int) -> list[int]:
    """Return the processes that descend from this one, itself not among them."""
    children: dict[int, list[int]] = defaultdict(list)
    for entry in PROC.iterdir():
        if entry.name.isdigit() and (parent := _parent(entry)) is not None:
            children[parent].append(int(entry.name))
    found: list[int] = []
    todo = [pid]
    while todo:
        mine = children[todo.pop()]
        found += mine
        todo += mine
    return found


def memory(pids: Iterable[int]) -> Memory:
    """Return the memory of these processes; one that has ended counts nothing."""
    pss = uss = 0
    for pid in pids:
        for line in _read(PROC / str(pid) / "smaps_rollup").splitlines():
            name, _, rest = line.partition(":")
            if name == "Pss":
                pss += int(rest.split()[0])
            elif name in ("Private_Clean", "Private_Dirty"):
                uss += int(rest.split()[0])
    return Memory(round(pss / 1024, 1), round(uss / 1024, 1))


def cpu_seconds(pids: Iterable[int]) -> float:
    """Return the CPU seconds that these processes have used, their ended children's too."""
    return sum(sum(map(int, fields[11:15])) for fields in map(_stat, pids) if fields) / TICKS


def command(pid: int) -> str:
    """Return the process's command line."""
    return _read(PROC / str(pid) / "cmdline").replace("\0", " ")


def available_mb() -> float:
    """Return how much memory programs could still have."""
    line = _read(PROC / "meminfo").partition("MemAvailable:")[2]
    return int(line.split()[0]) / 1024


def kill(pids: Iterable[int]) -> None:
    """End these processes at once; what they would do on the way out is not wanted."""
    for pid in pids:
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            pass  # it ended by itself


def _parent(entry: Path) -> int | None:
    fields = _stat(int(entry.name))
    return int(fields[1]) if fields else None


def _stat(pid: int) -> list[str]:
    """Return the fields after the program's name, which may hold spaces; none if it has ended."""
    return _read(PROC / str(pid) / "stat").rpartition(")")[2].split()


def _read(file: Path) -> str:
    try:
        return file.read_text(errors="replace")
    except (FileNotFoundError, ProcessLookupError, PermissionError):
        return ""
