"""Real conversations in the schemas of two datasets: the PyPI package chitchat-dataset (MIT).

They stand in for ``HuggingFaceH4/ultrachat_200k`` and ``HuggingFaceH4/Multilingual-Thinking``, and
their READMEs say so: same columns, same splits, other conversations. Users' turns become ``user``,
their partners' ``assistant``; the reasoning between them is made up.
"""

from __future__ import annotations

import hashlib
import json
import os
import random
import shutil
import tempfile
from collections.abc import Callable
from importlib.metadata import distribution
from importlib.util import find_spec
from pathlib import Path
from typing import Any

DATASET = "HuggingFaceH4/ultrachat_200k"
SPLITS = {"train_sft": 1400, "test_sft": 600, "train_gen": 1400, "test_gen": 600}
REASONING = "HuggingFaceH4/Multilingual-Thinking"
#: Rows of its one split.
REASONING_ROWS = 1000
#: The languages of the reasoning, and how it begins in each.
LANGUAGES = {
    "French": "D'accord, l'utilisateur écrit : « {} ». Je réponds brièvement, café compris.",
    "German": "Also, der Nutzer schreibt: „{}“. Ich überlege kurz und antworte höflich.",
    "Italian": "Allora, l'utente scrive: «{}». Rispondo con poche parole, perché è più chiaro.",
    "Spanish": "Bien, el usuario escribe: «{}». ¿Qué necesita? Respondo con cariño.",
}
DEVELOPER = "You are a friendly partner in small talk."
#: So small that a percentage of a split needs few of a file's row groups, as in the full dataset.
ROWS_PER_GROUP = 50
#: Part of the folder's name: another way of making the files is another folder.
RECIPE = 1

Row = dict[str, Any]


def make_dataset(folder: Path) -> Path:
    """Return the folder of the UltraChat stand-in, made if it is not there yet."""
    return _made(folder, "chitchat", lambda part: _write(part, _split(_conversations())))


def make_reasoning_dataset(folder: Path) -> Path:
    """Return the folder of the Multilingual-Thinking stand-in, made if it is not there yet."""
    return _made(folder, "reasoning", lambda part: _write_reasoning(part, _conversations()))


def _made(folder: Path, name: str, write: Callable[[Path], None]) -> Path:
    """Return the dataset's folder.

    Concurrent makers do not harm each other: each writes a folder of its own, the first to rename
    it wins, and all make the same bytes.
    """
    version = distribution("chitchat-dataset").version
    target = folder / f"{name}-{version}-{RECIPE}"
    if target.is_dir():
        return target
    folder.mkdir(parents=True, exist_ok=True)
    part = Path(tempfile.mkdtemp(dir=folder, prefix=".making-"))
    try:
        write(part / "files")
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


def _write_reasoning(folder: Path, rows: list[Row]) -> None:
    """Write the first exchange of some of the conversations, with a reasoning between."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    random.Random(1).shuffle(rows)
    languages = list(LANGUAGES)
    made = [
        _reasoned(row, languages[number % len(languages)])
        for number, row in enumerate(rows[:REASONING_ROWS])
    ]
    names = ("content", "role", "thinking")
    message = pa.struct([(name, pa.string()) for name in names])
    texts = ("reasoning_language", "developer", "user", "analysis", "final")
    schema = pa.schema([*((name, pa.string()) for name in texts), ("messages", pa.list_(message))])
    (folder / "data").mkdir(parents=True)
    table = pa.Table.from_pylist(made, schema=schema)
    file = folder / "data" / "train-00000-of-00001.parquet"
    pq.write_table(table, file, row_group_size=ROWS_PER_GROUP)
    (folder / "README.md").write_text(
        "---\nlicense: mit\nconfigs:\n- config_name: default\n  data_files:\n"
        "  - split: train\n    path: data/train-*\n---\n\n"
        f"# Stand-in for {REASONING}\n\nSame columns and split, but not the same conversations: "
        "these are from chitchat-dataset (MIT), and their reasoning is made up.\n"
    )


def _reasoned(row: Row, language: str) -> Row:
    asked, answered = (one["content"] for one in row["messages"][:2])
    analysis = LANGUAGES[language].format(asked)
    scene = f"reasoning language: {language}\n\n{DEVELOPER}"
    return {
        "reasoning_language": language,
        "developer": DEVELOPER,
        "user": asked,
        "analysis": analysis,
        "final": answered,
        "messages": [
            {"content": scene, "role": "system", "thinking": None},
            {"content": asked, "role": "user", "thinking": None},
            {"content": answered, "role": "assistant", "thinking": analysis},
        ],
    }


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
