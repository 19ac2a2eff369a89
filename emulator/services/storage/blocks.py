"""Blocks of a blob before they are committed, and the list that makes them its content."""

import base64
import binascii
import hashlib
import shutil
import urllib.parse
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from emulator.protocol.errors import ArmError
from emulator.services.storage.blobs import Blob, Storage

LONGEST_ID = 64  # bytes, before base64


@dataclass(frozen=True)
class Wanted:
    """One entry of a block list: ``kind`` is Committed, Uncommitted or Latest."""

    kind: str
    id: str


class Blocks:
    """The uncommitted blocks of one blob, each a file."""

    def __init__(self, storage: Storage, container: str, name: str) -> None:
        self.storage = storage
        self.place = (container, name)
        key = hashlib.sha256(f"{container}/{urllib.parse.quote(name)}".encode()).hexdigest()
        self.folder = storage.folder / ".blocks" / key

    def uncommitted(self) -> list[tuple[str, int]]:
        """Ids and sizes in bytes, in the order of the ids."""
        if not self.folder.is_dir():
            return []
        return sorted(
            (base64.urlsafe_b64decode(file.name).decode(), file.stat().st_size)
            for file in self.folder.iterdir()
        )

    def check_id(self, id_: str) -> None:
        """Raises ArmError 400: an id that is no base64, too long, or of another length."""
        try:
            size = len(base64.b64decode(id_, validate=True))
        except binascii.Error:
            text = "Value for one of the query parameters specified in the request URI is invalid."
            raise ArmError(400, "InvalidQueryParameterValue", text) from None
        if size > LONGEST_ID:
            text = "One of the request inputs is out of range."
            raise ArmError(400, "OutOfRangeInput", text)
        others = self.uncommitted()
        if others and len(others[0][0]) != len(id_):
            text = "The specified blob or block content is invalid."
            raise ArmError(400, "InvalidBlobOrBlock", text)

    def stage(self, id_: str, part: Path) -> None:
        """Keep the file ``part`` as this block; a block of the same id is replaced."""
        self.folder.mkdir(parents=True, exist_ok=True)
        part.replace(self._file(id_))

    def commit(self, wanted: list[Wanted], into: Path) -> tuple[tuple[str, int], ...]:
        """Write the blocks one after another; their ids and sizes.

        Raises ArmError 400: a block is not where its kind says.
        """
        blob = self.storage.get(*self.place)
        with into.open("wb") as whole:
            for one in wanted:
                self._copy(one, blob, whole)
        sizes = [self._size(one, blob) for one in wanted]
        return tuple((one.id, size) for one, size in zip(wanted, sizes, strict=True))

    def drop(self) -> None:
        """Forget the blocks that were not committed."""
        shutil.rmtree(self.folder, ignore_errors=True)

    def _copy(self, one: Wanted, blob: Blob | None, into: BinaryIO) -> None:
        source, start, size = self._source(one, blob)
        with source.open("rb") as file:
            file.seek(start)
            left = size
            while left and (chunk := file.read(min(left, 1 << 20))):
                into.write(chunk)
                left -= len(chunk)

    def _size(self, one: Wanted, blob: Blob | None) -> int:
        return self._source(one, blob)[2]

    def _source(self, one: Wanted, blob: Blob | None) -> tuple[Path, int, int]:
        """File, offset and size of a block."""
        staged = self._file(one.id)
        if one.kind != "Committed" and staged.is_file():
            return staged, 0, staged.stat().st_size
        start = 0
        for id_, size in blob.about.blocks if blob else ():
            if id_ == one.id and one.kind != "Uncommitted":
                return self.storage.file(*self.place), start, size
            start += size
        raise ArmError(400, "InvalidBlockList", "The specified block list is invalid.")

    def _file(self, id_: str) -> Path:
        return self.folder / base64.urlsafe_b64encode(id_.encode()).decode()
