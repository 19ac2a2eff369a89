"""The cases of ``benchmarks.data``, each a process of its own: ``CASE PERCENTAGE FOLDER``.

Prints the rows that it wrote, its peak of resident memory in KiB, and for ``cached`` its seconds.
Everything a case imports, it imports itself.
"""

from __future__ import annotations

import os
import sys
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from finetuning.conversations.rows import Batch

DATASET = "HuggingFaceH4/ultrachat_200k"
#: The floor writes as much for each batch as ours does, in pieces of this many bytes.
PIECE = 4 * 2**20


def tutorial(percentage: int, folder: Path) -> int:
    """Download everything, keep a slice of each split: what the tutorial's program does."""
    from datasets import get_dataset_split_names, load_dataset

    rows = 0
    for split in get_dataset_split_names(DATASET):
        some = load_dataset(DATASET, split=f"{split}[0%:{percentage}%]")
        some.to_json(folder / f"{split}.jsonl")
        rows += some.num_rows
    return rows


def ours(percentage: int, folder: Path) -> int:
    """Prepare the same rows as the flow does."""
    from finetuning.conversations.write import prepare
    from finetuning.form.data import DataChoice

    prepared = prepare(DataChoice(percentage=percentage), folder / "out")
    return sum(prepared.rows.values())


def floor(percentage: int, folder: Path) -> int:
    """Read the row groups that are needed and write the same bytes, with nothing in between.

    The bytes are those that ``ours`` wrote: nothing is converted, checked or hashed.
    """
    from finetuning.conversations.selection import select
    from finetuning.conversations.sources import open_source
    from finetuning.conversations.write import WORKERS
    from finetuning.form.data import DataChoice

    choice = DataChoice(percentage=percentage)
    source = open_source(choice)
    found = {name: source.split(name) for name in choice.splits}
    readings = chain.from_iterable(
        split.readings(select(choice, split.rows), choice) for split in found.values()
    )
    made = Path(os.environ["FLOOR_BYTES_FROM"]) / str(percentage)
    pieces = chain.from_iterable(_pieces(made / f"{name}.jsonl") for name in choice.splits)
    rows = 0
    with ThreadPoolExecutor(WORKERS) as pool, (folder / "floor.jsonl").open("wb") as out:
        for batch in _bounded(pool, readings, WORKERS):
            rows += len(batch.positions)
            out.write(next(pieces, b""))
        for piece in pieces:
            out.write(piece)
    return rows


def cached(percentage: int, folder: Path) -> tuple[int, float]:
    """Prepare twice through Prefect; return the second run's rows and seconds of its task.

    The Hub's counters begin anew before the second run, so they hold what that one moved.
    """
    import httpx
    from prefect import flow
    from prefect.testing.utilities import prefect_test_harness

    from finetuning.form.data import DataChoice
    from tasks.data import prepare_data

    @flow
    def preparing() -> tuple[int, float]:
        began = time.perf_counter()
        rows = sum(prepare_data(DataChoice(percentage=percentage)).rows.values())
        return rows, time.perf_counter() - began

    os.environ["FINETUNE_DATA"] = str(folder / "out")
    with prefect_test_harness(server_startup_timeout=180):
        preparing()
        httpx.put(f"{os.environ['HF_ENDPOINT']}/_settings", json={}, trust_env=False)
        return preparing()


def peak_kb() -> int:
    """Return the most memory that this process held; not getrusage, which counts its parent's."""
    return int(Path("/proc/self/status").read_text().partition("VmHWM:")[2].split()[0])


def _pieces(file: Path) -> Iterator[bytes]:
    with file.open("rb") as content:
        while piece := content.read(PIECE):
            yield piece


def _bounded(
    pool: ThreadPoolExecutor, readings: Iterable[Callable[[], Batch]], ahead: int
) -> Iterator[Batch]:
    waiting: deque[Future[Batch]] = deque()
    for reading in readings:
        waiting.append(pool.submit(reading))
        if len(waiting) > ahead:
            yield waiting.popleft().result()
    while waiting:
        yield waiting.popleft().result()


if __name__ == "__main__":
    if sys.argv[1] == "cached":
        rows, seconds = cached(int(sys.argv[2]), Path(sys.argv[3]))
        print(rows, peak_kb(), seconds)
    else:
        run = {"tutorial": tutorial, "ours": ours, "floor": floor}[sys.argv[1]]
        print(run(int(sys.argv[2]), Path(sys.argv[3])), peak_kb())
