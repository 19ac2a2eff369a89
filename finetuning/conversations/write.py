"""From a choice of data to files: read, cleaned, written as JSON Lines, named by their content.

Batches are read and cleaned on a few threads and written in order by one, so memory is bounded by
the batches in flight, whatever the dataset's size.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import shutil
import tempfile
import time
from collections import Counter, deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

from finetuning.azure.settings import Settings
from finetuning.conversations.rows import NAMED, Lines, to_lines
from finetuning.conversations.selection import part, select
from finetuning.conversations.sources import Source, content_version, open_source
from finetuning.conversations.sources.split import Reading, SplitRows
from finetuning.errors import DataError
from finetuning.form.data import DataChoice, PreparedData, PreparedFile

#: Part of every manifest: raise it when the same input gives other bytes.
CODE_VERSION = 1


MANIFEST = "manifest.json"


#: Threads that fetch, decode and convert; more were no faster on two cores, only larger.
WORKERS = 2


UNFINISHED = ".making-"


#: A folder of an interrupted run is removed once it is this old (seconds).
UNFINISHED_FOR = 24 * 3600


#: Told after each batch: rows done, rows in all.
Progress = Callable[[int, int], None]


def digest_of_inputs(choice: DataChoice, settings: Settings | None = None) -> str:
    """Return a digest of what is chosen, and of what its source holds now.

    A branch and the commit that it names have one digest.

    Raises:
        DataError, ServiceError, CredentialError: the source does not say what it holds.
    """
    source = content_version(choice, settings)
    wanted = {**choice.inputs(), "revision": source.get("commit")}
    inputs = {"inputs": wanted, "code": CODE_VERSION, "source": source}
    return hashlib.sha256(json.dumps(inputs, sort_keys=True).encode()).hexdigest()


def pinned(choice: DataChoice) -> DataChoice:
    """Return the choice with a dataset's branch resolved to its commit; files stay as they are.

    Raises:
        DataError: the Hub does not say.
    """
    if choice.files:
        return choice
    return choice.model_copy(update={"revision": content_version(choice)["commit"]})


@dataclass
class _Split:
    """A split that is being written."""

    name: str
    selected: int
    readings: list[Reading]
    rows: int = 0
    bytes: int = 0
    digest: hashlib._Hash = field(default_factory=hashlib.sha256)
    dropped: Counter[str] = field(default_factory=Counter)
    bad: list[str] = field(default_factory=list)

    def described(self, folder: Path) -> PreparedFile:
        return PreparedFile(
            path=str(folder / f"{self.name}.jsonl"),
            rows=self.rows,
            bytes=self.bytes,
            sha256=self.digest.hexdigest(),
            dropped=dict(self.dropped),
        )

    def manifest(self) -> dict[str, object]:
        return {
            "file": f"{self.name}.jsonl",
            "rows": self.rows,
            "bytes": self.bytes,
            "sha256": self.digest.hexdigest(),
            "dropped": dict(self.dropped),
        }


def prepare(
    choice: DataChoice,
    root: Path,
    settings: Settings | None = None,
    progress: Progress | None = None,
) -> PreparedData:
    """Write the chosen rows under ``root`` and return what they are.

    The folder's name is the hash of its manifest; it appears under that name when it is whole.

    Raises:
        DataError: the source is not what was asked for, too much of it is broken, or the disk is
            full. Nothing is left under ``root`` then.
        DataUnavailable: the source stopped answering, and repeating may help.
    """
    source = open_source(choice, settings)
    splits = [_planned(name, choice, source.split(choice.own_name(name))) for name in choice.names]
    root.mkdir(parents=True, exist_ok=True)
    _sweep(root)
    with _unfinished(root) as folder:
        _write(folder, splits, choice, progress)
        source.verify()
        for split in splits:
            _judge(split, choice)
        pinned = choice.model_copy(update=source.pin())
        digest = _finish(root, folder, _manifest(source, pinned, splits))
    files = {split.name: split.described(root / digest) for split in splits}
    return PreparedData(
        dataset=source.name,
        commit=source.commit,
        version=_version(files),
        manifest=str(root / digest / MANIFEST),
        choice=pinned,
        files=files,
    )


def _manifest(source: Source, choice: DataChoice, splits: list[_Split]) -> dict[str, object]:
    return {
        "source": source.name,
        "commit": source.commit,
        "inputs": choice.inputs(),
        "code_version": CODE_VERSION,
        "splits": {split.name: split.manifest() for split in splits},
    }


def _version(files: dict[str, PreparedFile]) -> str:
    text = "\n".join(f"{name} {file.sha256}" for name, file in sorted(files.items()))
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _planned(name: str, choice: DataChoice, found: SplitRows) -> _Split:
    """Return a split with what is to be read of it.

    Raises:
        DataError: nothing of it would be left.
    """
    selected = select(choice, found.rows)
    if not selected:
        raise DataError(
            f"{choice.percentage:g} % of split '{name}' ({found.rows} rows) is less than one row. "
            "Raise run.data.percentage."
        )
    mine = part(choice, name, selected)
    return _Split(name, len(mine), found.readings(mine, choice))


def _write(
    folder: Path, splits: list[_Split], choice: DataChoice, progress: Progress | None
) -> None:
    """Read, clean and write every split's batches."""
    total, done = sum(split.selected for split in splits), 0
    work = ((split, one) for split in splits for one in split.readings)
    with ThreadPoolExecutor(WORKERS) as pool, _disk_errors(folder):
        for split, lines in _in_order(pool, work, choice):
            with (folder / f"{split.name}.jsonl").open("ab") as file:
                _append(split, lines, file)
            done += lines.rows + lines.dropped.total()
            if progress:
                progress(done, total)


def _in_order(
    pool: ThreadPoolExecutor, work: Iterator[tuple[_Split, Reading]], choice: DataChoice
) -> Iterator[tuple[_Split, Lines]]:
    """Yield each batch's lines in order, with a few batches read ahead and no more."""
    waiting: deque[tuple[_Split, Future[Lines]]] = deque()
    try:
        for split, one in work:
            waiting.append((split, pool.submit(_convert, one, choice)))
            if len(waiting) > WORKERS:
                first, future = waiting.popleft()
                yield first, future.result()
        while waiting:
            first, future = waiting.popleft()
            yield first, future.result()
    finally:
        for _, future in waiting:
            future.cancel()


def _convert(reading: Reading, choice: DataChoice) -> Lines:
    return to_lines(reading(), choice)


def _append(split: _Split, lines: Lines, file: IO[bytes]) -> None:
    file.write(lines.content)
    split.digest.update(lines.content)
    split.rows += lines.rows
    split.bytes += len(lines.content)
    split.dropped.update(lines.dropped)
    split.bad += lines.bad[: NAMED - len(split.bad)]


def _judge(split: _Split, choice: DataChoice) -> None:
    """Refuse a split of which too much is broken, or nothing is left."""
    seen, broken = split.rows + split.dropped.total(), split.dropped["broken"]
    if seen != split.selected:
        raise DataError(f"Split '{split.name}' gave {seen} rows of {split.selected}; it changed.")
    first = "; ".join(split.bad)
    if broken > choice.max_bad_share * seen:
        raise DataError(
            f"{broken} of {seen} rows of split '{split.name}' are broken, more than the allowed "
            f"{choice.max_bad_share:.1%}. The first: {first}. "
            "Fix them, or raise run.data.max_bad_share."
        )
    if not split.rows:
        dropped = ", ".join(f"{count} by {why}" for why, count in split.dropped.items())
        raise DataError(
            f"No row of split '{split.name}' is left: {dropped} dropped. Loosen run.data.filters."
        )


@contextmanager
def _unfinished(root: Path) -> Iterator[Path]:
    """Yield a folder that is gone afterwards, unless it was renamed."""
    folder = Path(tempfile.mkdtemp(dir=root, prefix=UNFINISHED))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def _disk_errors(folder: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            raise
        free = shutil.disk_usage(folder).free / 2**20
        raise DataError(
            f"The disk under {folder.parent} is full ({free:.0f} MB left): {error.strerror}. "
            "Nothing was kept. Make room, or set FINETUNE_DATA to another disk."
        ) from error


def _finish(root: Path, folder: Path, manifest: dict[str, object]) -> str:
    """Write the manifest, and give the folder its name: the manifest's hash."""
    text = json.dumps(manifest, indent=1, sort_keys=True)
    digest = hashlib.sha256(text.encode()).hexdigest()
    with _disk_errors(folder), (folder / MANIFEST).open("w") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    folder.chmod(0o755)
    target = root / digest
    if target.exists():  # the same bytes, from an earlier or a concurrent run; may be damaged
        os.rename(target, folder.with_name(f"{folder.name}-old"))
    try:
        os.rename(folder, target)
    except OSError:
        if not target.is_dir():  # else another run was just faster, with the same bytes
            raise
    shutil.rmtree(folder.with_name(f"{folder.name}-old"), ignore_errors=True)
    return digest


def _sweep(root: Path) -> None:
    """Remove what interrupted runs left behind, once it is old enough to be nobody's."""
    for folder in root.glob(f"{UNFINISHED}*"):
        try:
            if time.time() - folder.stat().st_mtime > UNFINISHED_FOR:
                shutil.rmtree(folder, ignore_errors=True)
        except FileNotFoundError:
            continue
