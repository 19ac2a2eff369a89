"""A flow that counts how often each of its runs begins and ends: one line a time in a file."""

from __future__ import annotations

import os
import time
from pathlib import Path

from prefect import flow, task
from prefect.runtime import flow_run

from flows.lifecycle import single_owner as one_process

one_process.LOOK_EVERY_S = 1.0


@task
def wait(seconds: float, released_by: str | None) -> None:
    """Take some time, as a job on Azure does: these seconds, or until there is such a file."""
    time.sleep(seconds)
    while released_by and not Path(released_by).exists():
        time.sleep(0.1)


def note(what: str) -> None:
    with Path(os.environ["COUNTED"]).open("a") as file:
        file.write(f"{what} {flow_run.id}\n")


@flow(  # the automations look after flows of this name
    name="fine-tune", on_running=[one_process.step_back_if_begun_elsewhere]
)
def counted(number: int, released_by: str | None = None) -> None:
    """Begin, do two things, end."""
    note("begun")
    wait(2, None)
    wait(2, released_by)
    note("ended")
