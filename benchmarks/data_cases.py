"""What ``benchmarks.data`` measures, each case a process of its own.

Leaves the rows that it wrote. Everything a case imports, it imports itself.
"""

from __future__ import annotations

import os
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.program import arguments, leave
from benchmarks.tiny import DATASET

if TYPE_CHECKING:
    from finetuning.conversations.rows import Batch

#: The floor writes as much for each batch as ours does, in pieces of this many bytes.
PIECE = 4 * 2**20


def tutorial(percentage: int, folder: Path) -> dict[str, Any]:
    """Download everything, keep a slice of each split: what the tutorial's program does."""
    from datasets import get_dataset_split_names, load_dataset

    rows = 0
    for split in get_dataset_split_names(DATASET):
        some = load_dataset(DATASET, split=f"{split}[0%:{percentage}%]")
        some.to_json(folder / f"{split}.jsonl")
        rows += some.num_rows
    return {"rows": rows}


def ours(percentage: int, folder: Path) -> dict[str, Any]:
    """Prepare the same rows as the flow does."""
    from finetuning.conversations.write import prepare
    from finetuning.form.data import DataChoice

    return {"rows": sum(prepare(DataChoice(percentage=percentage), folder).rows.values())}


def floor(percentage: int, folder: Path) -> dict[str, Any]:
    """Read the row groups that are needed and write the same bytes, with nothing in between.

    The bytes are those that ``ours`` wrote: nothing is converted, checked or hashed.
    """
    from finetuning.conversations.selection import select
    from finetuning.conversations.sources import open_source
    from finetuning.conversations.write import WORKERS
    from finetuning.form.data import DataChoice

    choice = DataChoice(percentage=percentage)
    source = open_source(choice)
    splits = [source.split(name) for name in choice.names]
    readings = chain.from_iterable(
        split.readings(select(choice, split.rows), choice) for split in splits
    )
    made = Path(os.environ["FLOOR_BYTES_FROM"])
    pieces = chain.from_iterable(_pieces(made / f"{name}.jsonl") for name in choice.splits)
    rows = 0
    with ThreadPoolExecutor(WORKERS) as pool, (folder / "floor.jsonl").open("wb") as out:
        for batch in _bounded(pool, readings, WORKERS):
            rows += len(batch.positions)
            out.write(next(pieces, b""))
        out.writelines(pieces)
    return {"rows": rows}


def cached(percentage: int, _: Path) -> dict[str, Any]:
    """Prepare twice through Prefect; return the second run's rows and seconds of its task.

    The Hub's count begins anew before the second run, so it holds what that one moved.
    """
    import httpx
    from prefect import flow
    from prefect.testing.utilities import prefect_test_harness

    from finetuning.form.data import DataChoice
    from tasks.data import prepare_data

    @flow
    def preparing() -> dict[str, Any]:
        began = time.perf_counter()
        rows = sum(prepare_data(DataChoice(percentage=percentage)).rows.values())
        return {"rows": rows, "wall_s": round(time.perf_counter() - began, 2)}

    with prefect_test_harness(server_startup_timeout=180):
        preparing()
        httpx.put(f"{os.environ['HF_ENDPOINT']}/_settings", json={}, trust_env=False)
        return preparing()


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


CASES = {"tutorial": tutorial, "ours": ours, "floor": floor, "cached": cached}


def main() -> None:
    """Run one case in the folder that ``FINETUNE_DATA`` names."""
    parser = arguments("benchmarks.data_cases", __doc__)
    parser.add_argument("case", choices=CASES)
    parser.add_argument("percentage", type=int)
    given = parser.parse_args()
    folder = Path(os.environ["FINETUNE_DATA"])
    folder.mkdir(parents=True)
    leave(given.left, **CASES[given.case](given.percentage, folder))


if __name__ == "__main__":
    main()
