"""A flow that counts how often each of its runs begins and ends: one line a time in a file."""

from __future__ import annotations

import os
import time
from pathlib import Path

from prefect import flow, task
from prefect.runtime import flow_run


@task
def wait(seconds: float) -> None:
    """Take some time, as a job on Azure does."""
    time.sleep(seconds)


def note(what: str) -> None:
    with Path(os.environ["COUNTED"]).open("a") as file:
        file.write(f"{what} {flow_run.id}\n")


@flow(name="fine-tune")  # the automations look after flows of this name
def counted(number: int) -> None:
    """Begin, do two things, end."""
    note("begun")
    wait(2)
    wait(2)
    note("ended")
