"""Ends TLS and sends each connection to a server that takes it: what a cluster's ingress does."""

from __future__ import annotations

import asyncio
import itertools
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import trustme


@contextmanager
def balancer(ports: list[int], ca_file: Path) -> Iterator[str]:
    """An address in front of servers on these ports; who calls it needs the CA in ``ca_file``."""
    authority = trustme.CA()
    authority.cert_pem.write_to_path(str(ca_file))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()
    turns = itertools.count()
    begin = asyncio.start_server(
        lambda reader, writer: _serve(ports, next(turns), reader, writer),
        "127.0.0.1",
        0,
        ssl=context,
        backlog=256,
    )
    try:
        server = asyncio.run_coroutine_threadsafe(begin, loop).result(10)
        yield f"https://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join(10)


async def _serve(
    ports: list[int],
    first: int,
    reader: asyncio.StreamReader,
    writer: asyncio.StreamWriter,
) -> None:
    """Carry both ways between a client and the first server that answers; a dead one is skipped."""
    for place in range(len(ports)):
        port = ports[(first + place) % len(ports)]
        try:
            back_reader, back_writer = await asyncio.open_connection("127.0.0.1", port)
        except OSError:
            continue
        await asyncio.gather(_copy(reader, back_writer), _copy(back_reader, writer))
        return
    writer.close()


async def _copy(source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
    with suppress(OSError):
        while data := await source.read(65536):
            target.write(data)
            await target.drain()
    with suppress(OSError, RuntimeError):
        target.close()
