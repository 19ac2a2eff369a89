"""An UltraChat-shaped dataset of full size: 4 splits, 8 shards, 515,311 rows, made once, seeded.

Texts are slices of a long random text whose words follow Zipf's law, so that they compress about
as the real ones do (about 3 KB a row, snappy); their lengths are lognormal, as the real ones' are.
"""

from __future__ import annotations

import random
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from emulator.services.hub.conversations import readme

if TYPE_CHECKING:
    import pyarrow as pa

#: Rows of each split and how many shards hold them: the real dataset's figures.
SPLITS = {
    "train_sft": (207_865, 3),
    "test_sft": (23_110, 1),
    "train_gen": (256_032, 3),
    "test_gen": (28_304, 1),
}
ROWS_PER_GROUP = 1000
SEED = 20231030
#: Part of the folder's name: another way of making the rows is another folder.
RECIPE = 1


def make(root: Path, scale: float = 1.0) -> Path:
    """Return the dataset's folder, made where it is missing; ``scale`` is a share of the rows."""
    target = root / f"ultrachat-{SEED}-{RECIPE}-{scale:g}"
    if target.is_dir():
        return target
    root.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=root, prefix=".making-") as making:
        part = Path(making) / "files"
        sizes = {
            name: _write_split(part, name, round(rows * scale), shards)
            for name, (rows, shards) in SPLITS.items()
        }
        (part / "README.md").write_text(readme(sizes))
        part.rename(target)
    return target


def _write_split(folder: Path, name: str, rows: int, shards: int) -> tuple[int, int]:
    """Write a split's shards; return its rows and their bytes in memory."""
    import pyarrow.parquet as pq

    (folder / "data").mkdir(parents=True, exist_ok=True)
    source = Source(f"{SEED}-{name}")
    size = 0
    for shard in range(shards):
        begin, end = rows * shard // shards, rows * (shard + 1) // shards
        file = folder / "data" / f"{name}-{shard:05}-of-{shards:05}.parquet"
        with pq.ParquetWriter(file, _schema()) as writer:
            for first in range(begin, end, ROWS_PER_GROUP):
                group = source.rows(min(ROWS_PER_GROUP, end - first))
                size += group.nbytes
                writer.write_table(group)
        print(f"made {file.name}: {end - begin} rows", file=sys.stderr, flush=True)
    return rows, size


def _schema() -> pa.Schema:
    import pyarrow as pa

    message = pa.struct([("content", pa.string()), ("role", pa.string())])
    return pa.schema(
        [("prompt", pa.string()), ("prompt_id", pa.string()), ("messages", pa.list_(message))]
    )


class Source:
    """Draws conversations; the same seed draws the same ones."""

    def __init__(self, seed: str) -> None:
        self.random = random.Random(seed)
        self.text = "".join(_words(self.random, 2_000_000))

    def rows(self, count: int) -> pa.Table:
        import pyarrow as pa

        return pa.Table.from_pylist([self._row() for _ in range(count)], schema=_schema())

    def _row(self) -> dict[str, Any]:
        messages = []
        for _ in range(self.random.choice((2, 3, 3, 4, 4, 5))):
            messages.append({"content": self._slice(4.9, 0.7), "role": "user"})
            messages.append({"content": self._slice(6.82, 0.55), "role": "assistant"})
        prompt_id = f"{self.random.getrandbits(256):064x}"
        return {"prompt": messages[0]["content"], "prompt_id": prompt_id, "messages": messages}

    def _slice(self, mean: float, deviation: float) -> str:
        length = min(8000, max(12, int(self.random.lognormvariate(mean, deviation))))
        begin = self.random.randrange(len(self.text) - length)
        return self.text[begin : begin + length].strip() or "Yes."


def _words(source: random.Random, count: int) -> Iterator[str]:
    """Yield words and what stands between them; among them quotes, accents, other scripts."""
    letters = "etaoinshrdlucmfwypvbgk"
    lengths = [min(12, 2 + int(source.expovariate(0.28))) for _ in range(20_000)]
    known = ["".join(source.choices(letters, k=length)) for length in lengths]
    known[50::400] = ["naïve", "“quoted”", "東京", "€5", "🙂", 'a "b" c', "C:\\temp"] * 7 + ["x"]
    weights = [1 / (rank + 3) for rank in range(len(known))]
    separators = [" "] * 14 + [", ", ". ", ".\n\n", ": "]
    for word in source.choices(known, weights, k=count):
        yield word
        yield source.choice(separators)
