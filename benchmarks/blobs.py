"""A large blob up and down by the real SDK: seconds, and the emulator's memory while it passes."""

from __future__ import annotations

import io
import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from psutil import Process

from benchmarks.report import Figure, main
from benchmarks.stage import Stage, emulator_alone, folder_of
from emulator.configuration import Configuration, load_identity

MB = 1 << 20
CONTAINER, NAME = "azureml-blobstore", "large"
#: How much the emulator may grow while a blob of any size passes.
AT_MOST_MB = 64.0
EVERY_S = 0.05


class Zeros(io.RawIOBase):
    """So many bytes that nobody keeps in memory."""

    def __init__(self, size: int) -> None:
        self.left = size

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1) -> bytes:
        taken = self.left if size < 0 else min(size, self.left)
        self.left -= taken
        return bytes(taken)


def measure(megabytes: int) -> tuple[list[Figure], dict[str, Any]]:
    """Send and fetch one blob of so many MiB."""
    with folder_of("blobs") as folder, emulator_alone(folder) as here:
        os.environ.update(here.env)  # the SDK reads proxy and authority from there
        (emulator,) = Process().children()
        seconds = dict(_passes(here, megabytes * MB, emulator))
    figures = []
    for way, (took, grown) in seconds.items():
        speed = megabytes / took
        figures.append(Figure(f"{megabytes} MiB {way}", took, "s", note=f"{speed:.0f} MiB/s"))
        figures.append(Figure(f"{way}: the emulator grows by", grown, "MiB", AT_MOST_MB))
    return figures, seconds


def _passes(here: Stage, size: int, emulator: Process) -> Iterator[tuple[str, tuple[float, float]]]:
    from azure.storage.blob import BlobClient

    state = here.folder / "emulator"
    config = Configuration(state, state / "cache", load_identity(state))
    address, key = f"https://{config.blob_host}", config.identity.storage_key
    with BlobClient(address, CONTAINER, NAME, credential=key) as blob:
        yield "up", _watched(emulator, lambda: blob.upload_blob(Zeros(size), length=size))
        yield "down", _watched(emulator, lambda: _drain(blob, size))


def _drain(blob: Any, size: int) -> None:
    """Read the blob in pieces that are thrown away. Raises AssertionError: it came down short."""
    came = sum(len(piece) for piece in blob.download_blob().chunks())
    assert came == size, f"{came} bytes of {size} came down"


def _watched(emulator: Process, work: Callable[[], Any]) -> tuple[float, float]:
    """Seconds of some work, and by how many MiB the emulator's memory rose in it at most."""
    with _peak(emulator) as seen:
        started = time.monotonic()
        work()
        took = time.monotonic() - started
    return took, (max(seen) - seen[0]) / MB


@contextmanager
def _peak(process: Process) -> Iterator[list[int]]:
    """The process's memory in bytes, looked at again and again in a thread."""
    seen, done = [process.memory_info().rss], threading.Event()

    def look() -> None:
        while not done.wait(EVERY_S):
            seen.append(process.memory_info().rss)

    watcher = threading.Thread(target=look)
    watcher.start()
    try:
        yield seen
    finally:
        done.set()
        watcher.join()


if __name__ == "__main__":
    main("blobs", measure, __doc__, megabytes=(1024, "MiB of the blob"))
