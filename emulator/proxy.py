"""A CONNECT proxy on loopback: names under the emulator's suffix lead to it, all others nowhere."""

import asyncio
import socket
import struct
from collections.abc import Callable

HEAD_LIMIT = 16_384


class Proxy:
    """Tunnels to the TLS listener for hosts that ``mine`` accepts; passes ``allowed`` hosts on.

    Remembers each tunnel by the port that the TLS listener sees, so that a fault can cut it.
    """

    def __init__(
        self, mine: Callable[[str], bool], allowed: tuple[str, ...], tls_port: int
    ) -> None:
        self.mine = mine
        self.allowed = allowed
        self.tls_port = tls_port
        self._tunnels: dict[int, asyncio.StreamWriter] = {}
        self._open: set[asyncio.StreamWriter] = set()

    async def serve(self, client: asyncio.StreamReader, back: asyncio.StreamWriter) -> None:
        """Handle one connection of a client."""
        self._open.add(back)
        try:
            await self._serve(client, back)
        except (OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            pass  # either side went away: there is nobody left to tell
        finally:
            self._open.discard(back)
            back.close()

    async def _serve(self, client: asyncio.StreamReader, back: asyncio.StreamWriter) -> None:
        head = await client.readuntil(b"\r\n\r\n")
        method, _, rest = head.decode("latin-1").split("\r\n", 1)[0].partition(" ")
        host, _, port = rest.partition(" ")[0].rpartition(":")
        if method != "CONNECT" or not port.isdigit():
            await _refuse(back, "405 Method Not Allowed", "This proxy only tunnels (CONNECT).")
        elif self.mine(host.lower()):
            await self._tunnel(client, back, "127.0.0.1", self.tls_port)
        elif host.lower() in self.allowed:
            await self._tunnel(client, back, host, int(port))
        else:
            await _refuse(
                back, "403 Forbidden", f"{host} is neither this emulator's nor on its allow-list."
            )

    async def _tunnel(
        self, client: asyncio.StreamReader, back: asyncio.StreamWriter, host: str, port: int
    ) -> None:
        try:
            service, forth = await asyncio.open_connection(host, port)
        except OSError as error:
            await _refuse(back, "502 Bad Gateway", f"{host}:{port} cannot be reached: {error}.")
            return
        seen_as: int = forth.get_extra_info("sockname")[1]
        self._tunnels[seen_as] = back
        self._open.add(forth)
        try:
            back.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
            await asyncio.gather(_pump(client, forth), _pump(service, back))
        finally:
            self._tunnels.pop(seen_as, None)
            self._open.discard(forth)
            forth.close()

    def abort(self, port: int) -> None:
        """Reset the client's connection that the TLS listener sees as coming from ``port``."""
        back = self._tunnels.get(port)
        if back is not None:
            reset(back.transport)

    def close(self) -> None:
        """Cut all tunnels."""
        for writer in list(self._open):
            writer.transport.abort()


def reset(connection: asyncio.BaseTransport) -> None:
    """Close a connection so that the other side sees a reset, not an end."""
    raw: socket.socket = connection.get_extra_info("socket")
    raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    if isinstance(connection, asyncio.WriteTransport):
        connection.abort()


async def _pump(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
    try:
        while data := await source.read(65_536):
            sink.write(data)
            await sink.drain()
    finally:
        if sink.can_write_eof() and not sink.is_closing():
            sink.write_eof()


async def _refuse(back: asyncio.StreamWriter, status: str, text: str) -> None:
    body = text.encode()
    head = f"HTTP/1.1 {status}\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n"
    back.write(head.encode() + body)
    await back.drain()
