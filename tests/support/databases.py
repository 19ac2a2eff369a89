"""PostgreSQL and Redis, as Debian packages them, each in a process of its own."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from deployments.local_stack import free_port, running
from tests.support.waiting import until

POSTGRES = sorted(Path("/usr/lib/postgresql").glob("*/bin"))
REDIS = shutil.which("redis-server")


@contextmanager
def postgres(home: Path) -> Iterator[str]:
    """A PostgreSQL server of its own; its address for Prefect."""
    programs, data, port = POSTGRES[-1], home / "postgres", free_port()
    data.mkdir()
    as_user: list[str] = []
    if os.getuid() == 0:  # PostgreSQL refuses to run as root
        as_user = ["runuser", "-u", "postgres", "--"]
        shutil.chown(data, "postgres")
        for parent in [home, *home.parents]:  # pytest's folders are the owner's alone
            if parent.stat().st_mode & 0o001 == 0:
                parent.chmod(parent.stat().st_mode | 0o011)
    subprocess.run(
        [*as_user, programs / "initdb", "-D", data, "-U", "prefect", "-A", "trust"],
        cwd="/",
        check=True,
        capture_output=True,
    )
    options = ["-D", data, "-p", str(port), "-h", "127.0.0.1", "-k", data, "-c", "fsync=off"]
    argv = [*as_user, str(programs / "postgres"), *map(str, options)]
    with running(argv, home / "postgres.log"):
        until("PostgreSQL answers", lambda: _listens(port), 240)
        yield f"postgresql+asyncpg://prefect@127.0.0.1:{port}/postgres"


@contextmanager
def redis(home: Path) -> Iterator[str]:
    port = free_port()
    argv = [
        str(REDIS),
        "--port",
        str(port),
        "--bind",
        "127.0.0.1",
        "--save",
        "",
        "--dir",
        str(home),
    ]
    with running(argv, home / "redis.log"):
        until("Redis answers", lambda: _listens(port))
        yield f"redis://127.0.0.1:{port}"


def _listens(port: int) -> bool:
    with socket.socket() as one:
        return one.connect_ex(("127.0.0.1", port)) == 0
