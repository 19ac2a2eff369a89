"""A real Prefect server for a test, which fails the test that made its log show an error."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from deployments import local_stack

#: SQLite has one writer. A transaction that began by reading is refused at once, whatever the
#: time-out; the server answers 503, and Prefect's client repeats the request.
ONE_WRITER = "database is locked"
#: A server that is stopped under load gives up the events that it has not written yet.
UNWRITTEN_EVENTS = "Max flush retries"
#: How much of each error a failing test shows: its first and last line say what it was.
SHOWN = 300


@contextmanager
def prefect_server(home: Path, port: int, *expected: str) -> Iterator[dict[str, str]]:
    """A server with its database in ``home``; yields the settings to reach it.

    ``expected`` are texts of errors that the test provokes.

    Raises:
        AssertionError: the server logged another error or traceback while it was up.
    """
    with local_stack.prefect_server(home, port) as settings:
        yield settings
    assert_sound(home / "server.log", expected=expected)


@contextmanager
def used_here(api: str) -> Iterator[None]:
    """Point this process and all its threads at a server, as Prefect's own test harness does."""
    from prefect import context
    from prefect.settings import PREFECT_API_URL, temporary_settings

    with (
        temporary_settings({PREFECT_API_URL: api}),
        context._temporary_global_settings_context(context.get_settings_context()),
    ):
        yield
        send_what_waits()


def send_what_waits() -> None:
    """Send the log lines and events that Prefect holds back, while their server is there."""
    from prefect.events.worker import EventsWorker
    from prefect.logging.handlers import APILogWorker
    from prefect.utilities.asyncutils import run_coro_as_sync

    async def send() -> None:
        for sending in (APILogWorker.instance().drain(), EventsWorker.drain_all()):
            if sending is not None and not isinstance(sending, bool):
                await sending

    run_coro_as_sync(send())


def assert_sound(*logs: Path, expected: tuple[str, ...] = ()) -> None:
    """Fail with the unexpected errors that the logs of a server's programs show."""
    errors = [
        f"{log.name}: {error[:SHOWN]} ... {error[-SHOWN:]}"
        for log in logs
        for error in local_stack.logged_errors(log.read_text("utf-8", "replace"))
        if not any(text in error for text in (ONE_WRITER, UNWRITTEN_EVENTS, *expected))
    ]
    assert not errors, "\n".join(errors)
