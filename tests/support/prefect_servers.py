"""A real Prefect server for a test, which fails the test that made its log show an error."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from deployments import local_stack


@contextmanager
def prefect_server(home: Path, port: int) -> Iterator[dict[str, str]]:
    """A server with its database in ``home``; yields the settings to reach it.

    Raises:
        AssertionError: the server logged an error or a traceback while it was up.
    """
    with local_stack.prefect_server(home, port) as settings:
        yield settings
    assert_sound(home / "server.log")


def assert_sound(*logs: Path) -> None:
    """Fail with the errors that the logs of a server's programs show."""
    errors = {
        log.name: local_stack.logged_errors(log.read_text("utf-8", "replace")) for log in logs
    }
    assert not any(errors.values()), errors
