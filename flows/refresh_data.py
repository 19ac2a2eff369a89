"""Prepare the data anew and upload it, so that the next fine-tune finds it ready."""

from __future__ import annotations

from datetime import timedelta

from prefect import flow
from prefect.runtime import flow_run

from finetuning.form.context import RunContext
from finetuning.form.data import DataChoice, PreparedData
from finetuning.form.run import Deadlines
from flows.lifecycle.context import named_once, own
from tasks.connection import find_settings
from tasks.data import preparation
from tasks.data_assets import upload_data

FLOW = "refresh-data"
#: How long the tags of what this flow uploads call it wanted.
WANTED = timedelta(days=90)


def run_name() -> str:
    """Return what the UI calls a run: data, when."""
    data: DataChoice = flow_run.parameters["data"]
    return named_once(f"{data.title} {data.percentage:g} %")


@flow(
    name=FLOW,
    flow_run_name=run_name,
    validate_parameters=True,
    persist_result=False,
    retries=1,  # nothing here costs or leaves anything running: a second try is free
    retry_delay_seconds=300,
)
def refresh_data(data: DataChoice = DataChoice()) -> PreparedData:  # noqa: B008  # frozen
    """Read the dataset again, whatever the cache holds, and upload what has changed.

    The next fine-tune with the same choice of data finds it prepared and uploaded. What the
    upload finds in the workspace by its content is not sent a second time.
    """
    settings = find_settings()
    choice = data.model_copy(update={"refresh": True})
    prepared: PreparedData = preparation(choice)(choice, settings)
    owner = own(FLOW, WANTED)
    upload_data(RunContext(settings=settings, owner=owner, deadlines=Deadlines()), prepared)
    return prepared
