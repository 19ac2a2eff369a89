"""The Hub stand-in on a free port of loopback, in a thread of the test's own process."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import uvicorn

from emulator.services.hub import Hub, create_app
from emulator.services.hub.conversations import readme


@dataclass
class RunningHub:
    """A hub that listens, and the address that ``HF_ENDPOINT`` wants."""

    hub: Hub
    url: str

    @property
    def link(self) -> Any:
        return self.hub.link


@contextmanager
def running_hub(cache: Path) -> Iterator[RunningHub]:
    """Serve a hub; afterwards its thread has ended and its port is free."""
    hub = Hub(cache)
    listener = socket.create_server(("127.0.0.1", 0))
    config = uvicorn.Config(create_app(hub), log_level="critical", access_log=False)
    server = uvicorn.Server(config)
    server.force_exit = False
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
    thread.start()
    try:
        yield RunningHub(hub, f"http://127.0.0.1:{listener.getsockname()[1]}/hub")
    finally:
        server.should_exit = server.force_exit = True  # idle keep-alive connections hold it else
        thread.join(20)
        listener.close()
        assert not thread.is_alive()


def write_dataset(folder: Path, splits: dict[str, list[dict[str, Any]]], **options: Any) -> Path:
    """Write splits as parquet with a card, as a dataset's repository has them.

    ``files`` (default 1) is the number of files of a split, ``row_group_size`` goes to pyarrow.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    files = options.pop("files", 1)
    (folder / "data").mkdir(parents=True)
    sizes = {}
    for name, rows in splits.items():
        table = pa.Table.from_pylist(rows)
        sizes[name] = (table.num_rows, table.nbytes)
        for number in range(files):
            begin, end = len(rows) * number // files, len(rows) * (number + 1) // files
            path = folder / "data" / f"{name}-{number:05}-of-{files:05}.parquet"
            pq.write_table(table.slice(begin, end - begin), path, **options)
    (folder / "README.md").write_text(readme(sizes))
    return folder
