"""From rows as a source has them to lines of JSON: mapped, checked, filtered, counted.

Whole batches that are as they should be (which is nearly all) are judged column by column; only a
batch with something wrong in it is looked at row by row, to say which row and which field.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from finetuning.conversations.survey import ROLES, fault_of, tokens_of
from finetuning.form.data import Columns, DataChoice, Filters

if TYPE_CHECKING:
    import pyarrow as pa


Row = dict[str, Any]


#: How many bad rows are named one by one.
NAMED = 5


@dataclass(frozen=True)
class Batch:
    """Rows as they were read: a table, or one by one; ``positions`` of each in its split."""

    positions: list[int] | range
    table: pa.Table | None = None
    rows: list[Row | str] = field(default_factory=list)  # a text says why a row cannot be read


@dataclass
class Lines:
    """A batch as JSON Lines, with what was left out and why."""

    content: bytes
    rows: int
    dropped: Counter[str]
    bad: list[str]


def to_lines(batch: Batch, choice: DataChoice) -> Lines:
    """Return the batch's rows as JSON Lines; broken and filtered rows are counted, not written."""
    import orjson

    rows, dropped, bad = _clean(batch, choice)
    dump, option = orjson.dumps, orjson.OPT_APPEND_NEWLINE
    return Lines(b"".join([dump(row, option=option) for row in rows]), len(rows), dropped, bad)


def _clean(batch: Batch, choice: DataChoice) -> tuple[list[Row], Counter[str], list[str]]:
    if batch.table is not None and _is_plain(batch.table, choice):
        return list(batch.table.to_pylist()), Counter(), []
    given: list[Row | str] = batch.table.to_pylist() if batch.table is not None else batch.rows
    kept: list[Row] = []
    dropped: Counter[str] = Counter()
    bad: list[str] = []
    for position, row in zip(batch.positions, given, strict=True):
        fault, mapped = _mapped(row, choice.columns)
        reason = "broken" if fault else _unwanted(row, mapped, choice.filters)
        if fault:
            bad.append(f"row {position + 1}: {fault}")
        if reason:
            dropped[reason] += 1
        else:
            kept.append(mapped)
    return kept, dropped, bad


def _is_plain(table: pa.Table, choice: DataChoice) -> bool:
    """Whether every row can be written as it is: UltraChat's schema, nothing null, roles known."""
    if not choice.columns.ultrachats or choice.filters.any:
        return False
    if set(table.column_names) != {"prompt", "prompt_id", "messages"}:
        return False
    messages = table.column("messages")
    if not _is_text(table.schema) or any(column.null_count for column in table.columns):
        return False
    return all(_is_whole(chunk) for chunk in messages.chunks)


def _is_whole(messages: pa.ListArray) -> bool:
    """Whether no message of a chunk is missing anything; copies nothing.

    A slice is judged by the rows beside it too, which at worst sends it to the slower way.
    """
    import pyarrow.compute as pc

    flat = messages.values
    content, role = flat.field("content"), flat.field("role")
    if flat.null_count or content.null_count or role.null_count:
        return False
    known = set(ROLES).issuperset(pc.unique(role).to_pylist())
    shortest: int | None = pc.min(pc.list_value_length(messages)).as_py()
    return known and shortest != 0


def _is_text(schema: pa.Schema) -> bool:
    import pyarrow as pa

    def text(kind: pa.DataType) -> bool:
        return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind))

    kind = schema.field("messages").type
    if not (pa.types.is_list(kind) and pa.types.is_struct(kind.value_type)):
        return False
    inner = [kind.value_type.field(i) for i in range(kind.value_type.num_fields)]
    outer = [schema.field(name).type for name in ("prompt", "prompt_id")]
    return {one.name for one in inner} == {"content", "role"} and all(
        text(one) for one in [*outer, *(one.type for one in inner)]
    )


def _mapped(row: Row | str, columns: Columns) -> tuple[str | None, Row]:
    """Return what is wrong with a row (or None), and the row in the tutorial's schema."""
    if isinstance(row, str):
        return row, {}
    mapped = row if columns.ultrachats else _renamed(row, columns)
    mapped = _completed(mapped)
    fault = fault_of(mapped)
    if fault is None and not mapped["messages"]:
        fault = "field 'messages' is empty"
    return fault, {key: mapped.get(key) for key in ("prompt", "prompt_id", "messages")}


def _renamed(row: Row, columns: Columns) -> Row:
    found: Row = {"prompt": row.get(columns.prompt), "prompt_id": row.get(columns.prompt_id)}
    if columns.question and columns.answer:
        found["messages"] = [
            {"content": row.get(columns.question), "role": "user"},
            {"content": row.get(columns.answer), "role": "assistant"},
        ]
        return found
    messages = row.get(columns.messages)
    found["messages"] = (
        [_message(one, columns) for one in messages] if isinstance(messages, list) else messages
    )
    return found


def _message(message: Any, columns: Columns) -> Any:
    if not isinstance(message, dict):
        return message
    role = message.get(columns.role)
    named = {"content": message.get(columns.content), "role": columns.roles.get(str(role), role)}
    if columns.thinking in message:
        named["thinking"] = message[columns.thinking]
    return named


def _completed(row: Row) -> Row:
    """Fill in a missing prompt (the first message) and a missing id (the prompt's hash)."""
    import hashlib

    prompt, prompt_id, messages = row.get("prompt"), row.get("prompt_id"), row.get("messages")
    if prompt is None and isinstance(messages, list) and messages and isinstance(messages[0], dict):
        prompt = messages[0].get("content")
    if prompt_id is None and isinstance(prompt, str):
        prompt_id = hashlib.sha256(prompt.encode()).hexdigest()
    return {**row, "prompt": prompt, "prompt_id": prompt_id}


def _unwanted(row: Row | str, mapped: Row, filters: Filters) -> str | None:
    """Return the filter that leaves a row out, or None."""
    language = filters.language_column
    if language and isinstance(row, dict) and row.get(language) not in filters.languages:
        return "language"
    if filters.max_turns is not None and len(mapped["messages"]) > filters.max_turns:
        return "max_turns"
    if filters.max_tokens is not None and tokens_of(mapped["messages"]) > filters.max_tokens:
        return "max_tokens"
    return None
