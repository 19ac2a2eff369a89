"""A split's rows, in batches that can be read each on its own: parquet row groups, or lines."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from functools import cached_property, partial
from typing import IO, TYPE_CHECKING, Any, Protocol

from finetuning.conversations.rows import Batch
from finetuning.conversations.selection import within
from finetuning.errors import DataError
from finetuning.form.data import DataChoice

if TYPE_CHECKING:
    import pyarrow.parquet as pq


#: Bytes, decompressed, that one thread holds at once; more are no faster (docs/performance.md).
BATCH_BYTES = 4 * 2**20


LINES_PER_BATCH = 1000


Opener = Callable[[], AbstractContextManager[IO[bytes]]]


Reading = Callable[[], Batch]


@dataclass(frozen=True)
class File:
    """A file of a source: its name for people, its size in bytes, and how to open it."""

    name: str
    size: int
    open: Opener


class SplitRows(Protocol):
    """The rows of one split."""

    @property
    def rows(self) -> int:
        """How many there are."""

    def readings(self, selected: Sequence[int], choice: DataChoice) -> list[Reading]:
        """Return what reads the selected rows, batch by batch, in order, each on any thread."""


class Source(Protocol):
    """A dataset, pinned to one state of it."""

    name: str
    commit: str

    def split(self, name: str) -> SplitRows:
        """Return a split's rows by the source's own name of it."""

    def pin(self) -> dict[str, str]:
        """Return what changes in a choice so that it means this state and no later one."""

    def verify(self) -> None:
        """Make sure that nothing changed since it was opened.

        Raises:
            DataError: a file changed.
        """


@contextmanager
def reading(file: str) -> Iterator[None]:
    """Turn what a damaged or truncated file causes into an error that names the file."""
    import pyarrow as pa

    try:
        yield
    except (pa.ArrowException, EOFError, OSError) as error:
        if isinstance(error, OSError) and error.errno is not None:  # the disk's, not the file's
            raise
        raise DataError(
            f"{file} is truncated or damaged: {error}. Nothing was kept of it; check the source."
        ) from error


class ParquetRows:
    """A split in parquet files: only footers are read at first, then the row groups wanted."""

    def __init__(self, split: str, files: list[File]) -> None:
        self.split, self.files = split, files

    @cached_property
    def footers(self) -> list[pq.FileMetaData]:
        """Return the files' footers, read side by side."""
        from concurrent.futures import ThreadPoolExecutor

        with ThreadPoolExecutor(len(self.files)) as pool:
            return list(pool.map(_footer, self.files))

    @property
    def rows(self) -> int:
        return sum(int(footer.num_rows) for footer in self.footers)

    def readings(self, selected: Sequence[int], choice: DataChoice) -> list[Reading]:
        columns = self._columns(choice)
        found: list[Reading] = []
        first = 0
        for file, footer in zip(self.files, self.footers, strict=True):
            for groups, count in _batches(footer, selected, first):
                mine = within(selected, first, count)
                if groups and mine:
                    positions = [first + one for one in mine]
                    found.append(
                        partial(_read_groups, file, footer, groups, columns, mine, positions)
                    )
                first += count
        return found

    def _columns(self, choice: DataChoice) -> list[str]:
        """Return the columns to read.

        Raises:
            DataError: one that is needed is missing; says which are there.
        """
        there = self.footers[0].schema.to_arrow_schema().names
        language = choice.filters.language_column
        needed = [*choice.columns.required, *([language] if language else [])]
        for column in needed:
            if column not in there:
                raise missing_column(column, self.split, there)
        useful = {*needed, choice.columns.prompt, choice.columns.prompt_id}
        return [name for name in there if name in useful]


def missing_column(column: str, split: str, there: Sequence[str]) -> DataError:
    """Return the error for a column that a split does not have."""
    return DataError(
        f"Column '{column}' is not in split '{split}', which has: {', '.join(there)}. "
        "Say in run.data.columns (or filters) which of them to use."
    )


def _footer(file: File) -> pq.FileMetaData:
    import pyarrow.parquet as pq

    with reading(file.name), file.open() as content:
        return pq.read_metadata(content)


def _batches(
    footer: pq.FileMetaData, selected: Sequence[int], first: int
) -> Iterator[tuple[list[int], int]]:
    """Yield runs of row groups and their row counts; runs with no selected row have no groups."""
    groups: list[int] = []
    rows = size = 0
    for group in range(footer.num_row_groups):
        described = footer.row_group(group)
        if not within(selected, first + rows, described.num_rows):
            if groups:
                yield groups, rows
                first, rows, size, groups = first + rows, 0, 0, []
            yield [], described.num_rows
            first += described.num_rows
            continue
        groups.append(group)
        rows += described.num_rows
        size += described.total_byte_size
        if size >= BATCH_BYTES:
            yield groups, rows
            first, rows, size, groups = first + rows, 0, 0, []
    if groups:
        yield groups, rows


def _read_groups(
    file: File,
    footer: pq.FileMetaData,
    groups: list[int],
    columns: list[str],
    mine: Sequence[int],
    positions: list[int],
) -> Batch:
    """Fetch the columns of some row groups, and keep the wanted rows."""
    import pyarrow.parquet as pq

    expected = sum(footer.row_group(group).num_rows for group in groups)
    with reading(file.name), file.open() as content:
        parquet = pq.ParquetFile(content, metadata=footer, pre_buffer=True)
        table = parquet.read_row_groups(groups, columns=columns, use_threads=False)
    if table.num_rows != expected:
        raise DataError(f"{file.name} gave {table.num_rows} rows of {expected}; it is damaged.")
    if isinstance(mine, range):
        table = table.slice(mine.start, len(mine))
    elif len(mine) < table.num_rows:
        table = table.take(mine)
    return Batch(positions=positions, table=table)


class LineRows:
    """A split as JSON Lines: counted once, then read by its lines' places."""

    def __init__(self, split: str, files: list[File]) -> None:
        self.split, self.files = split, files

    @cached_property
    def places(self) -> list[tuple[File, int, int]]:
        """Return file, byte offset and number of lines of each thousand lines."""
        return [place for file in self.files for place in _places(file)]

    @property
    def rows(self) -> int:
        return sum(count for _, _, count in self.places)

    def readings(self, selected: Sequence[int], choice: DataChoice) -> list[Reading]:
        found: list[Reading] = []
        first = 0
        for file, offset, count in self.places:
            mine = within(selected, first, count)
            if mine:
                found.append(partial(_read_lines, file, offset, count, mine, first, choice))
            first += count
        return found


def _places(file: File) -> Iterator[tuple[File, int, int]]:
    offset = begin = count = 0
    with file.open() as content:
        for line in content:
            count += 1
            offset += len(line)
            if count == LINES_PER_BATCH:
                yield file, begin, count
                begin, count = offset, 0
    if offset != file.size:
        raise DataError(f"{file.name} ended after {offset} of {file.size} bytes; it is truncated.")
    if count:
        yield file, begin, count


def _read_lines(
    file: File,
    offset: int,
    count: int,
    mine: Sequence[int],
    first: int,
    choice: DataChoice,
) -> Batch:
    with file.open() as content:
        content.seek(offset)
        lines = [content.readline() for _ in range(count)]
    rows = [_parsed(lines[one], choice) for one in mine]
    return Batch(positions=[first + one for one in mine], rows=rows)


def _parsed(line: bytes, choice: DataChoice) -> dict[str, Any] | str:
    import orjson

    try:
        row = orjson.loads(line)
    except orjson.JSONDecodeError as error:
        return f"not JSON: {error}"
    if not isinstance(row, dict):
        return "not a JSON object"
    for column in choice.columns.required:
        if column not in row:
            return f"field '{column}' is missing; there are: {', '.join(row)}"
    return row
