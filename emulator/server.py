"""The emulator on three loopback sockets: Azure's hosts over TLS, the proxy to them, plain http."""

import asyncio
import contextlib
import os
import signal
import socket
import ssl
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import certifi
import trustme
import uvicorn

from emulator.app import Emulator, azure_app, plain_app
from emulator.configuration import REGION, Configuration, save_identity
from emulator.faults import FaultyService
from emulator.proxy import HEAD_LIMIT, Proxy, reset

LOOPBACK = "127.0.0.1"


class Taken(RuntimeError):
    """Another emulator runs on this state folder."""

    def __init__(self, state: Path) -> None:
        super().__init__(state)
        self.state = state

    def __str__(self) -> str:
        return f"An emulator runs on {self.state} already. Stop it, or choose another --state."


class _Quiet(uvicorn.Server):
    """A server that leaves signals to the emulator, which has two of them to stop."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


@contextlib.contextmanager
def sole_owner(state: Path) -> Iterator[None]:
    """Hold the state folder's lock; the kernel lets go of it however the process ends."""
    import fcntl

    state.mkdir(parents=True, exist_ok=True)
    with (state / "lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise Taken(state) from None
        yield


def listen(port: int) -> socket.socket:
    """A listening socket: on the port of the last start if it is free, else on a free one."""
    # Naming the protocol makes asyncio switch Nagle's algorithm off: 40 ms less for every request.
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((LOOPBACK, port))
    except OSError:
        listener.bind((LOOPBACK, 0))
    listener.listen(256)
    return listener


def with_ports(config: Configuration, sockets: list[socket.socket]) -> Configuration:
    """The configuration with the ports that were found, kept for the next start."""
    tls, proxy, plain = (listener.getsockname()[1] for listener in sockets)
    identity = replace(config.identity, tls_port=tls, proxy_port=proxy, plain_port=plain)
    save_identity(config.state, identity)
    return replace(config, identity=identity)


def certificate(config: Configuration) -> trustme.LeafCert:
    """A server certificate for all hosts of the suffix, from an authority kept in the state folder.

    Writes ``ca-bundle.pem``: the system's authorities and this one.
    """
    authority = _authority(config.state / "authority.pem")
    bundle = config.state / "ca-bundle.pem"
    system = os.environ.get("REQUESTS_CA_BUNDLE") or certifi.where()
    if Path(system) == bundle:  # started in a shell that is pointed at this very emulator
        system = certifi.where()
    _write(bundle, Path(system).read_bytes() + b"\n" + authority.cert_pem.bytes(), 0o644)
    suffix = config.suffix
    return authority.issue_cert(
        f"*.{suffix}",
        config.api_host,
        f"*.blob.{config.storage_suffix}",
        f"*.{REGION}.inference.{suffix}",
    )


def _authority(kept: Path) -> trustme.CA:
    """The authority of this state folder; made and kept where there is none."""
    if kept.exists():
        pem, key = kept.read_bytes().split(b"--KEY--")
        return trustme.CA.from_pem(pem, key)
    authority = trustme.CA(organization_name="Azure ML emulator, not Azure")
    both = (authority.cert_pem.bytes(), authority.private_key_pem.bytes())
    _write(kept, b"--KEY--".join(both), 0o600)
    return authority


def _write(file: Path, content: bytes, mode: int) -> None:
    """Write so that a kill leaves the old file or the new one."""
    part = file.with_suffix(".part")
    part.touch(mode=mode)
    part.write_bytes(content)
    part.replace(file)


def _server(app: object, certificate: trustme.LeafCert | None) -> uvicorn.Server:
    config = uvicorn.Config(
        app,  # type: ignore[arg-type]  # an ASGI app
        log_level="warning",
        access_log=False,
        lifespan="off",
        timeout_keep_alive=75,
        timeout_graceful_shutdown=1,
    )
    config.load()
    if certificate is not None:
        config.ssl = _context(certificate)
        config.ssl_certfile = "in memory"
    return _Quiet(config)


def _context(certificate: trustme.LeafCert) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    certificate.configure_cert(context)
    return context


@asynccontextmanager
async def running(config: Configuration) -> AsyncIterator[Emulator]:
    """The emulator, answering on its sockets; afterwards nothing of it runs."""
    mine = config.identity
    sockets = [listen(port) for port in (mine.tls_port, mine.proxy_port, mine.plain_port)]
    config = with_ports(config, sockets)
    emulator = Emulator(config)
    proxy = Proxy(
        lambda host: host.endswith("." + config.suffix),
        config.allowed_hosts,
        config.identity.tls_port,
    )
    azure = FaultyService(
        azure_app(emulator),
        emulator.journal,
        emulator.faults,
        emulator.clock,
        emulator.profile.seconds("request"),
        proxy.abort,
    )
    plain = FaultyService(
        plain_app(emulator),
        emulator.journal,
        emulator.faults,
        emulator.clock,
        0.0,
        lambda port: _abort(servers[1], port),
        exempt="/_emulator",
    )
    servers = [_server(azure, certificate(config)), _server(plain, None)]
    tasks = [
        asyncio.create_task(servers[0].serve(sockets=[sockets[0]])),
        asyncio.create_task(servers[1].serve(sockets=[sockets[2]])),
    ]
    tunnels = await asyncio.start_server(proxy.serve, sock=sockets[1], limit=HEAD_LIMIT)
    try:
        await _started(servers)
        await emulator.start()
        yield emulator
    finally:
        tunnels.close()
        proxy.close()
        emulator.faults.clear()
        for server in servers:
            server.should_exit = True
        await asyncio.gather(*tasks)
        await emulator.close()


def _abort(server: uvicorn.Server, port: int) -> None:
    """Reset the connection of the client that has this port."""
    for connection in list(server.server_state.connections):
        if getattr(connection, "client", None) == (LOOPBACK, port):
            reset(connection.transport)


async def _started(servers: list[uvicorn.Server]) -> None:
    while not all(server.started for server in servers):
        await asyncio.sleep(0.01)


async def serve(config: Configuration, ready: Callable[[Configuration], None]) -> None:
    """Run until SIGTERM or SIGINT; ``ready`` is called once everything answers."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    with sole_owner(config.state):
        async with running(config) as emulator:
            ready(emulator.config)
            await stop.wait()
