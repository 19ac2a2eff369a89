"""Memory and CPU of processes and of whom they started; a process that has ended counts nothing."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from psutil import NoSuchProcess, Process, pid_exists


def families(pids: Iterable[int]) -> list[Process]:
    """Return these processes and all that descend from them."""
    roots = [Process(pid) for pid in pids]
    return [*roots, *(child for root in roots for child in root.children(recursive=True))]


def memory_mb(processes: Iterable[Process]) -> float:
    """Return their memory together (PSS): what several map is divided among them."""
    return _total(lambda process: process.memory_full_info().pss / 2**20, processes)


def cpu_seconds(processes: Iterable[Process]) -> float:
    """Return the CPU seconds that they have used, their ended children's too."""
    return _total(lambda process: sum(process.cpu_times()[:4]), processes)


def kill(pids: Iterable[int]) -> None:
    """End these processes and all below, at once: nothing that they do on the way out is wanted."""
    for process in families(pid for pid in pids if pid_exists(pid)):
        try:
            process.kill()
        except NoSuchProcess:
            pass  # it ended by itself


def _total(of: Callable[[Process], float], processes: Iterable[Process]) -> float:
    total = 0.0
    for process in processes:
        try:
            total += of(process)
        except NoSuchProcess:  # a zombie too
            pass
    return total
