"""Real conversations in UltraChat's schema: the PyPI package chitchat-dataset (MIT) as parquet.

It stands in for ``HuggingFaceH4/ultrachat_200k``, and its README says so: same columns, same four
splits, other conversations. Users' turns become ``user``, their partners' ``assistant``.
"""

from __future__ import annotations

import hashlib
import json
import os
import random
import shutil
import tempfile
from importlib.metadata import distribution
from importlib.util import find_spec
from pathlib import Path
from typing import Any

DATASET = "HuggingFaceH4/ultrachat_200k"
SPLITS = {"train_sft": 1400, "test_sft": 600, "train_gen": 1400, "test_gen": 600}
#: So small that a percentage of a split needs few of a file's row groups, as in the full dataset.
ROWS_PER_GROUP = 50
#: Part of the folder's name: another way of making the files is another folder.
RECIPE = 1

Row = dict[str, Any]


def make_dataset(folder: Path) -> Path:
    """Return the dataset's folder, made if it is not there yet.

    Concurrent makers do not harm each other: each writes a folder of its own, the first to rename
    it wins, and all make the same bytes.
    """
    version = distribution("chitchat-dataset").version
    target = folder / f"chitchat-{version}-{RECIPE}"
    if target.is_dir():
        return target
    folder.mkdir(parents=True, exist_ok=True)
    part = Path(tempfile.mkdtemp(dir=folder, prefix=".making-"))
    try:
        _write(part / "files", _split(_conversations()))
        os.rename(part / "files", target)
    except OSError:
        if not target.is_dir():  # else another maker was first
            raise
    finally:
        shutil.rmtree(part)
    return target


def _conversations() -> list[Row]:
    spec = find_spec("chitchat_dataset")
    if spec is None or spec.origin is None:
        raise RuntimeError("The Hub stand-in needs the package chitchat-dataset. Install it.")
    conversations = json.loads(
        Path(spec.origin).with_name("dataset.json").read_text(encoding="utf-8")
    )
    rows = (_row(name, about["messages"]) for name, about in sorted(conversations.items()))
    return [row for row in rows if row is not None]


def _row(name: str, turns: list[list[dict[str, str]]]) -> Row | None:
    """Return a conversation in UltraChat's schema, or nothing where nobody answered."""
    texts = [" ".join(part["text"].strip() for part in turn).strip() for turn in turns]
    texts = texts[: len(texts) // 2 * 2]  # it ends with an answer
    if not texts or not all(texts):
        return None
    messages = [
        {"content": text, "role": "assistant" if number % 2 else "user"}
        for number, text in enumerate(texts)
    ]
    prompt_id = hashlib.sha256(name.encode()).hexdigest()
    return {"prompt": texts[0], "prompt_id": prompt_id, "messages": messages}


def _split(rows: list[Row]) -> dict[str, list[Row]]:
    random.Random(0).shuffle(rows)
    splits, begin = {}, 0
    for name, size in SPLITS.items():
        splits[name] = rows[begin : begin + size]
        begin += size
    if begin > len(rows):
        raise RuntimeError(f"chitchat-dataset has {len(rows)} conversations; {begin} are needed.")
    return splits


def _write(folder: Path, splits: dict[str, list[Row]]) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    message = pa.struct([("content", pa.string()), ("role", pa.string())])
    schema = pa.schema(
        [
            ("prompt", pa.string()),
            ("prompt_id", pa.string()),
            ("messages", pa.list_(message)),
        ]
    )
    (folder / "data").mkdir(parents=True)
    sizes = {}
    for name, rows in splits.items():
        table = pa.Table.from_pylist(rows, schema=schema)
        sizes[name] = (table.num_rows, table.nbytes)
        file = folder / "data" / f"{name}-00000-of-00001.parquet"
        pq.write_table(table, file, row_group_size=ROWS_PER_GROUP)
    (folder / "README.md").write_text(readme(sizes))


def readme(splits: dict[str, tuple[int, int]]) -> str:
    """Return the dataset's card, whose head tells ``datasets`` which files make which split.

    ``splits`` gives rows and bytes of each.
    """
    files = "\n".join(f"  - split: {name}\n    path: data/{name}-*" for name in splits)
    sizes = "\n".join(
        f"  - name: {name}\n    num_bytes: {size}\n    num_examples: {rows}"
        for name, (rows, size) in splits.items()
    )
    return f"""---
license: mit
configs:
- config_name: default
  data_files:
{files}
dataset_info:
  features:
  - name: prompt
    dtype: string
  - name: prompt_id
    dtype: string
  - name: messages
    list:
    - name: content
      dtype: string
    - name: role
      dtype: string
  splits:
{sizes}
---

# Stand-in for {DATASET}

Same columns and splits, but not the same conversations: these are from chitchat-dataset (MIT).
"""
