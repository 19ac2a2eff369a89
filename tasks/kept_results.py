"""Results that outlive their process: JSON of a few known shapes, and nothing else is read back.

Who may write to the storage of results must not be able to run code on a worker. Prefect pickles by
default, and a stored record names the serializer that reads it: a pickle planted there is executed,
whatever serializer the task has. Prefect's own "json" is no better: it calls what a record's
``__class__`` names. So our steps keep their results through ``KeptResults``, which refuses every
record that is not written by ``KeptJson``, before Prefect looks at it. To Prefect a record that is
refused is not there: the step runs again and overwrites it.
"""

from __future__ import annotations

import json
import logging
from typing import Any
from uuid import NAMESPACE_URL, UUID, uuid5

from prefect.filesystems import WritableFileSystem
from prefect.results import ResultStore, get_default_result_storage
from prefect.serializers import Serializer
from pydantic import Field, TypeAdapter

from finetuning.errors import ResultRefused
from finetuning.evaluation.answers import Answered
from finetuning.evaluation.suites import Suite
from finetuning.form.data import PreparedData
from finetuning.form.results import Judged
from finetuning.planning.facts import SplitFacts
from finetuning.planning.plan import Plan

TYPE = "fine-tune-json"
#: What our steps keep, by the name that a record has for its shape.
SHAPES: dict[str, TypeAdapter[Any]] = {
    "plan": TypeAdapter(Plan),
    "prepared data": TypeAdapter(PreparedData),
    "looked at": TypeAdapter(dict[str, SplitFacts]),
    "answer": TypeAdapter(Answered),
    "suites": TypeAdapter(list[Suite]),
    "judged": TypeAdapter(Judged),
}
#: The fields of a record's metadata that are passed on to Prefect.
METADATA = ("storage_key", "expiration", "prefect_version", "storage_block_id")

log = logging.getLogger(__name__)


class KeptJson(Serializer):
    """Writes a result of one of our shapes as JSON, and reads no other."""

    type: str = Field(default=TYPE, frozen=True)

    def dumps(self, obj: Any) -> bytes:
        name = _shape(obj)
        value = SHAPES[name].dump_python(obj, mode="json")
        return json.dumps({"shape": name, "value": value}).encode()

    def loads(self, blob: bytes) -> Any:
        found = json.loads(blob)
        return SHAPES[found["shape"]].validate_python(found["value"])


def _shape(obj: Any) -> str:
    if isinstance(obj, Plan):
        return "plan"
    if isinstance(obj, Answered):
        return "answer"
    if isinstance(obj, Judged):
        return "judged"
    if isinstance(obj, list):
        return "suites"
    return "prepared data" if isinstance(obj, PreparedData) else "looked at"


class KeptResults(WritableFileSystem):
    """The configured storage of results, behind a door that only our own records pass."""

    _block_type_name = "Results of fine-tunes"
    _block_type_slug = "fine-tune-results"
    #: Prefect takes a block for a task's results only where it has been saved. This one has nothing
    #: to save; that nobody loads it by its id follows: kept results are read by their key alone.
    _block_document_id: UUID | None = uuid5(NAMESPACE_URL, _block_type_slug)

    def read_path(self, path: str, **options: Any) -> bytes:  # type: ignore[override]
        """Return a record that ``KeptJson`` wrote.

        Raises:
            ResultRefused: it is another's, or damaged; nothing of it was executed.
        """
        content = result_storage().read_path(path, **options)
        try:
            return _checked(content)
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            log.error("%s", ResultRefused(path))
            raise ResultRefused(path) from error

    def write_path(self, path: str, content: bytes, **options: Any) -> Any:
        """Write a record."""
        return result_storage().write_path(path, content, **options)


def result_storage() -> Any:
    """Return the configured storage of results, unguarded: for what is only written."""
    return get_default_result_storage(_sync=True)  # type: ignore[call-arg]  # not in a coroutine


def _checked(content: bytes) -> bytes:
    """Return the record made anew of what was looked at: two readers may read one text otherwise.

    Raises:
        ValueError, TypeError, KeyError, AttributeError: it is no record of ``KeptJson``.
    """
    record = json.loads(content)
    metadata = record["metadata"]
    if metadata["serializer"] != {"type": TYPE}:
        raise ValueError(f"the serializer is {metadata['serializer']!r}")
    result = json.loads(record["result"])
    SHAPES[result["shape"]].validate_python(result["value"])
    kept = {name: metadata[name] for name in METADATA if metadata.get(name) is not None}
    return json.dumps(
        {"metadata": {**kept, "serializer": {"type": TYPE}}, "result": json.dumps(result)}
    ).encode()


def store() -> ResultStore:
    """Return the store of results that are kept by a key of our own."""
    return ResultStore(
        result_storage=KeptResults(), serializer=KeptJson(), cache_result_in_memory=False
    )


#: Options of a task with a result that is read again; the others keep none.
KEPT: dict[str, Any] = {
    "persist_result": True,
    "result_serializer": KeptJson(),
    "result_storage": KeptResults(),
}
