"""Parquet and JSON Lines files on this machine or in Azure storage."""

from __future__ import annotations

import glob
import hashlib
import io
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from finetuning.azure.client import open_client
from finetuning.azure.clouds import check_storage_host
from finetuning.azure.credentials import find_credential
from finetuning.azure.service_errors import service_errors
from finetuning.azure.settings import Settings
from finetuning.azure.time_limits import request_limits
from finetuning.conversations.sources.split import File, LineRows, ParquetRows, SplitRows
from finetuning.errors import DataError
from finetuning.form.data import DataChoice

if TYPE_CHECKING:
    from azure.storage.blob import BlobClient


AZ = re.compile(r"^az://(?P<container>[^@/]+)@(?P<host>[\w.-]+(?::\d+)?)/(?P<path>.+)$")


DATASTORE = re.compile(r"^azureml://(?:.*/)?datastores/(?P<store>[^/]+)/paths/(?P<path>.+)$")


PARQUET, LINES = (".parquet",), (".jsonl", ".ndjson", ".json")


#: Bytes asked of a blob at once when it is read from its beginning.
BUFFER = 4 * 2**20


#: One file's name and what tells, without reading it, whether it changed.
Version = list[str | int]


def files_version(choice: DataChoice, settings: Settings | None) -> dict[str, list[Version]]:
    """Return by split what tells whether its files changed.

    Of a local file its size and time in nanoseconds, of a blob its size and ETag.

    Raises:
        DataError: a file is not there, or its host may not be asked.
        ServiceError, CredentialError: Azure storage did not say.
    """
    return {split: _version(place, settings) for split, place in sorted(choice.files.items())}


def _version(place: str, settings: Settings | None) -> list[Version]:
    if place.startswith(("az://", "azureml://")):
        found = _stamped_blob(place, settings)
        return [[place, found.file.size, found.stamp]]
    return [
        [str(path), path.stat().st_size, path.stat().st_mtime_ns] for path in _local_files(place)
    ]


def open_files(choice: DataChoice, settings: Settings | None) -> FilesDataset:
    """Return the files as a dataset, pinned to their present content.

    Raises:
        DataError: a split has no file, or a file is not there.
    """
    for split in choice.names:
        own = choice.own_name(split)
        if own not in choice.files:
            raise DataError(
                f"Split '{own}' has no file; there are files for: {', '.join(choice.files)}. "
                "Name it in run.data.files, or take it out of run.data.splits."
            )
    return FilesDataset({split: _found(place, settings) for split, place in choice.files.items()})


@dataclass(frozen=True)
class _Stamped:
    """A file, and what tells whether it changed."""

    file: File
    stamp: str
    restamp: Any


class FilesDataset:
    """Files by split; the commit is the hash of what they hold."""

    def __init__(self, splits: dict[str, list[_Stamped]]) -> None:
        self._splits = splits
        self.name = "files: " + ", ".join(
            f"{split}={one.file.name}" for split, found in splits.items() for one in found
        )
        stamps = [one.stamp for _, found in sorted(splits.items()) for one in found]
        self.commit = hashlib.sha256("\n".join(stamps).encode()).hexdigest()[:40]

    def split(self, name: str) -> SplitRows:
        """Return a split's rows; the files' endings say how they are read."""
        files = [one.file for one in self._splits[name]]
        if all(file.name.endswith(PARQUET) for file in files):
            return ParquetRows(name, files)
        if all(file.name.endswith(LINES) for file in files):
            return LineRows(name, files)
        raise DataError(
            f"{files[0].name} is neither parquet ({', '.join(PARQUET)}) nor JSON Lines "
            f"({', '.join(LINES)}) by its ending. Convert it, or rename it."
        )

    def pin(self) -> dict[str, str]:
        """Return nothing: a path cannot be pinned, the commit tells whether it changed."""
        return {}

    def verify(self) -> None:
        """Compare each file with what it was when it was opened."""
        for found in self._splits.values():
            for one in found:
                if one.restamp() != one.stamp:
                    raise DataError(
                        f"{one.file.name} changed while it was read. Nothing was kept; "
                        "run it again when nobody writes to it."
                    )


def _found(place: str, settings: Settings | None) -> list[_Stamped]:
    if place.startswith(("az://", "azureml://")):
        return [_stamped_blob(place, settings)]
    return [_stamped_file(path) for path in _local_files(place)]


def _local_files(place: str) -> list[Path]:
    """Return the files that a local path or pattern names.

    Raises:
        DataError: there is none, or the address is not a local one.
    """
    if "://" in place and not place.startswith("file://"):
        raise DataError(
            f"'{place}': sources are local paths, az:// and azureml://. Fetch it, or upload it."
        )
    paths = _local(place)
    missing = [path for path in paths if not path.is_file()]
    if missing or not paths:
        raise DataError(f"File '{place}' does not exist. Check run.data.files.")
    return paths


def _local(place: str) -> list[Path]:
    name = place.removeprefix("file://")
    if glob.has_magic(name) and not Path(name).exists():
        return sorted(Path(one) for one in glob.glob(name))
    return [Path(name)]


def _stamped_file(path: Path) -> _Stamped:
    restamp = partial(_content_hash, path)
    return _Stamped(
        File(str(path), path.stat().st_size, partial(_open_local, path)), restamp(), restamp
    )


@contextmanager
def _open_local(path: Path) -> Iterator[IO[bytes]]:
    with path.open("rb") as content:
        yield content


def _content_hash(path: Path) -> str:
    with path.open("rb") as content:
        return hashlib.file_digest(content, "sha256").hexdigest()


def download(place: str, target: Path, settings: Settings) -> None:
    """Write a blob of Azure storage to a file.

    Raises:
        DataError: it does not exist, or changed meanwhile.
    """
    import shutil

    found = _stamped_blob(place, settings)
    with found.file.open() as content, target.open("wb") as copy:
        shutil.copyfileobj(content, copy, BUFFER)


def _stamped_blob(place: str, settings: Settings | None) -> _Stamped:
    from azure.core.exceptions import ResourceNotFoundError

    blob = _blob(place, settings)
    with service_errors(f"Read {place}"):
        try:
            size, stamp = _described(blob)
        except ResourceNotFoundError as error:
            raise DataError(f"'{place}' does not exist. Check run.data.files.") from error
    restamp = partial(_stamp_of, blob)
    return _Stamped(
        File(place, size, partial(_open_blob, place, blob, size, stamp)), stamp, restamp
    )


def _described(blob: BlobClient) -> tuple[int, str]:
    found = blob.get_blob_properties()
    return int(found.size), str(found.etag)


def _stamp_of(blob: BlobClient) -> str:
    return _described(blob)[1]


@contextmanager
def _open_blob(place: str, blob: BlobClient, size: int, etag: str) -> Iterator[IO[bytes]]:
    with service_errors(f"Read {place}"):
        yield io.BufferedReader(_BlobRanges(blob, size, etag), BUFFER)


class _BlobRanges(io.RawIOBase):
    """A blob as a seekable file, so that pyarrow reads footers and row groups of it."""

    def __init__(self, blob: BlobClient, size: int, etag: str) -> None:
        self.blob, self.size, self.etag, self.position = blob, size, etag, 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self.position

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        origin = {os.SEEK_SET: 0, os.SEEK_CUR: self.position, os.SEEK_END: self.size}[whence]
        self.position = origin + offset
        return self.position

    def readinto(self, target: Any) -> int:
        from azure.core import MatchConditions

        wanted = min(len(target), self.size - self.position)
        if wanted <= 0:
            return 0
        content = self.blob.download_blob(
            self.position, wanted, etag=self.etag, match_condition=MatchConditions.IfNotModified
        ).readall()
        target[: len(content)] = content
        self.position += len(content)
        return len(content)


def _blob(place: str, settings: Settings | None) -> BlobClient:
    """Return the client of the blob that an address names.

    Raises:
        DataError: the address is none, or the connection settings are missing.
    """
    if settings is None:
        raise DataError(f"'{place}' needs the workspace's connection settings.")
    if found := AZ.match(place):
        check_storage_host(settings, found["host"])
        account = f"https://{found['host']}"
        return _client(account, found["container"], found["path"], find_credential(settings))
    if found := DATASTORE.match(place):
        return _in_datastore(found["store"], found["path"], settings)
    raise DataError(
        f"'{place}' is not an address: az://container@account.blob.core.windows.net/path, or "
        "azureml://datastores/name/paths/path."
    )


def _in_datastore(name: str, path: str, settings: Settings) -> BlobClient:
    with service_errors(f"Find datastore '{name}'"):
        store: Any = open_client(settings).datastores.get(name, include_secrets=True)
    return blob_of_datastore(store, path, settings)


def blob_of_datastore(store: Any, path: str, settings: Settings) -> BlobClient:
    """Return the client of a blob in a datastore, with the datastore's own secret if it has one.

    Raises:
        DataError: the datastore is none of blob storage, or leads to a host that gets no token.
    """
    container = getattr(store, "container_name", None) or getattr(store, "filesystem", None)
    if not container:
        raise DataError(
            f"Datastore '{store.name}' is of type {store.type}; a source is one of blob storage."
        )
    host = f"{store.account_name}.blob.{store.endpoint}"
    check_storage_host(settings, host)  # whoever made the datastore chose its address
    secret = getattr(store.credentials, "account_key", None) or getattr(
        store.credentials, "sas_token", None
    )
    return _client(f"https://{host}", container, path, secret or find_credential(settings))


def _client(account: str, container: str, path: str, credential: Any) -> BlobClient:
    from azure.storage.blob import BlobClient

    return BlobClient(account, container, path, credential=credential, **request_limits())
