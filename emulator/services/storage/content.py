"""A blob's bytes on their way out and in: ranges, pieces, hashes; never a whole blob in memory."""

import asyncio
import hashlib
import re
from pathlib import Path
from typing import BinaryIO

from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from emulator.protocol.errors import ArmError

PIECE = 1 << 20
HASHED_RANGE = 4 << 20  # the largest range whose hash the service tells
RANGE = re.compile(r"bytes=(\d+)-(\d+)?")  # the two forms that the service takes


class Content(Response):
    """``size`` bytes of an open file from ``start``, sent in pieces; closes the file."""

    def __init__(self, file: BinaryIO, start: int, size: int, headers: dict[str, str]) -> None:
        status = 206 if "Content-Range" in headers else 200
        super().__init__(None, status, headers)
        self.headers["content-length"] = str(size)
        self._file, self._start, self._size = file, start, size

    async def __call__(self, _: Scope, _receive: Receive, send: Send) -> None:
        with self._file as file:
            head = {"type": "http.response.start", "status": self.status_code}
            await send({**head, "headers": self.raw_headers})
            file.seek(self._start)
            left = self._size
            while left:
                piece = await asyncio.to_thread(file.read, min(left, PIECE))
                if not piece:
                    raise OSError(f"{file.name} became shorter while it was read")
                left -= len(piece)
                await send({"type": "http.response.body", "body": piece, "more_body": left > 0})
            if not self._size:
                await send({"type": "http.response.body", "body": b""})


def range_of(request: Request, size: int) -> tuple[int, int] | None:
    """First and last byte that a request asks for; None for all, also where no form is known.

    Raises ArmError 416: a range that begins behind the end.
    """
    text = request.headers.get("x-ms-range") or request.headers.get("range", "")
    wanted = RANGE.fullmatch(text)
    if wanted is None:
        return None
    start = int(wanted[1])
    last = int(wanted[2]) if wanted[2] else size - 1
    if wanted[2] and last < start:
        return None
    if start >= size:
        raise ArmError(416, "InvalidRange", "The range specified is invalid for the current size "
                       "of the resource.", {"Content-Range": f"bytes */{size}"})  # fmt: skip
    return start, min(last, size - 1)


async def receive(request: Request, into: Path) -> bytes:
    """Write a request's body to a file; its MD5.

    Raises ArmError 400: it is shorter or longer than it said. Then no file is left.
    """
    expected, size, digest = request.headers.get("content-length"), 0, hashlib.md5()
    with into.open("wb") as file:
        async for chunk in request.stream():
            file.write(chunk)
            digest.update(chunk)
            size += len(chunk)
    if expected is not None and size != int(expected):
        into.unlink()
        raise ArmError(400, "IncompleteBody", "The request body is incomplete.")
    return digest.digest()


def hash_of(file: BinaryIO, start: int, size: int) -> bytes:
    """The MD5 of a range. Raises ArmError 400: a range longer than 4 MiB."""
    if size > HASHED_RANGE:
        text = "x-ms-range-get-content-md5 is for ranges of at most 4 MiB."
        raise ArmError(400, "OutOfRangeInput", text)
    file.seek(start)
    return hashlib.md5(file.read(size)).digest()
