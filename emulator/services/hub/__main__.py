"""Serve the stand-in alone.

python -m emulator.services.hub --cache DIR [--dataset NAME=FOLDER]
"""

from __future__ import annotations

import argparse
import asyncio
import socket
from pathlib import Path

import uvicorn

from emulator.services.hub.app import create_app
from emulator.services.hub.hub import Hub
from emulator.services.hub.link import Link


def main() -> None:
    """Listen on loopback, print ``HF_ENDPOINT=...`` when ready, and serve until told to stop."""
    parser = argparse.ArgumentParser(
        prog="python -m emulator.services.hub", description="Serve the stand-in alone."
    )
    parser.add_argument("--cache", type=Path, required=True, help="where datasets are made")
    parser.add_argument("--dataset", action="append", default=[], help="serve also NAME=FOLDER")
    parser.add_argument("--bytes-per-second", type=float, help="hold the line to this speed")
    options = parser.parse_args()
    hub = Hub(options.cache, Link(options.bytes_per_second))
    for dataset in options.dataset:
        name, _, folder = dataset.partition("=")
        hub.add(name, Path(folder))
    asyncio.run(serve(hub))


async def serve(hub: Hub) -> None:
    """Serve on a free port of 127.0.0.1."""
    listener = socket.create_server(("127.0.0.1", 0))
    config = uvicorn.Config(create_app(hub), log_level="warning", access_log=False)
    print(f"HF_ENDPOINT=http://127.0.0.1:{listener.getsockname()[1]}/hub", flush=True)
    await uvicorn.Server(config).serve(sockets=[listener])


if __name__ == "__main__":
    main()
