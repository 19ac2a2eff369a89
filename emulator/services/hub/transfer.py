"""Sending a file over the line: whole or a range of it, until the end, the client or a fault."""

from __future__ import annotations

import asyncio
import os
import re
from collections.abc import Coroutine
from pathlib import Path
from typing import Any

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from emulator.services.hub.link import PIECE, Link
from emulator.services.hub.repositories import StoredFile

RANGE = re.compile(r"^bytes=(\d*)-(\d*)$")


class FileAnswer(Response):
    """A file's bytes, with the Hub's headers; honours ``Range`` and counts what went out."""

    def __init__(self, link: Link, path: Path, file: StoredFile, headers: dict[str, str]) -> None:
        super().__init__(headers=headers)
        self.link, self.path, self.file, self.extra = link, path, file, headers

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        head = scope["method"] == "HEAD"
        fault = None if head else self.link.fault(scope["path"])
        kind = fault.kind if fault else ""
        end = fault.after_bytes if fault and kind == "truncate" else self.file.size
        asked = "" if kind == "no_ranges" else _header(scope, b"range")
        asked = asked if RANGE.match(asked) else ""  # what is no range asks for everything
        span = wanted(asked, end)
        await send(self._start(span, end, asked, ranges=kind != "no_ranges"))
        if head or span is None:
            await send({"type": "http.response.body", "body": b""})
            return
        limit = fault.after_bytes if fault and kind == "drop" else None
        await _until_gone(receive, self._send_span(send, span, limit))

    def _start(
        self, span: tuple[int, int] | None, size: int, asked: str, *, ranges: bool
    ) -> dict[str, object]:
        headers = self.extra | {
            "ETag": f'"{self.file.etag}"',
            "Content-Type": "application/octet-stream",
            "Content-Length": str(span[1] - span[0] if span else 0),
        }
        if ranges:
            headers["Accept-Ranges"] = "bytes"
        status = 200
        if span is None:
            status, headers["Content-Range"] = 416, f"bytes */{size}"
        elif asked:
            status, headers["Content-Range"] = (
                206,
                f"bytes {span[0]}-{span[1] - 1}/{size}",
            )
        pairs = [(name.lower().encode(), value.encode()) for name, value in headers.items()]
        return {"type": "http.response.start", "status": status, "headers": pairs}

    async def _send_span(self, send: Send, span: tuple[int, int], limit: int | None) -> None:
        """Send the bytes from span[0] up to span[1]; with a limit, stop and say nothing more."""
        position, end = span
        last = end if limit is None else min(end, position + limit)
        source = os.open(self.path, os.O_RDONLY)
        try:
            while position < last:
                piece = os.pread(source, min(PIECE, last - position), position)
                if not piece:  # the file on disk is shorter than it was when it was added
                    return
                position += len(piece)
                await self.link.carry(len(piece))
                more = position < end
                await send({"type": "http.response.body", "body": piece, "more_body": more})
            if last == end == span[0]:
                await send({"type": "http.response.body", "body": b""})
        finally:
            os.close(source)


async def _until_gone(receive: Receive, sending: Coroutine[Any, Any, None]) -> None:
    """Run ``sending``, but give up when the client hangs up: it is sent no byte more."""
    task = asyncio.ensure_future(sending)
    gone = asyncio.ensure_future(_hangs_up(receive))
    try:
        await asyncio.wait({task, gone}, return_when=asyncio.FIRST_COMPLETED)
        if task.done():
            task.result()
    finally:
        for waiting in (task, gone):
            waiting.cancel()
        await asyncio.gather(task, gone, return_exceptions=True)


async def _hangs_up(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


def _header(scope: Scope, name: bytes) -> str:
    return next((value.decode() for key, value in scope["headers"] if key == name), "")


def wanted(asked: str, size: int) -> tuple[int, int] | None:
    """Return begin and end (exclusive) of what a Range header asks for; None: nothing is there.

    A header that is not understood asks for everything, as the RFC has it.
    """
    match = RANGE.match(asked)
    if not match or match.groups() == ("", ""):
        return 0, size
    first, last = match.groups()
    if not first:
        return max(0, size - int(last)), size
    end = min(int(last) + 1, size) if last else size
    return (int(first), end) if int(first) < end else None
