"""Prepare the data anew and upload it, so that the next fine-tune finds it ready."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from prefect import flow
from prefect.runtime import flow_run

from finetuning.azure import naming, ownership
from finetuning.azure.ownership import Ownership
from finetuning.form.data import DataChoice, PreparedData
from tasks.connection import find_settings
from tasks.data import preparation
from tasks.data_assets import upload_data

FLOW = "refresh-data"
#: How long the tags of what this flow uploads call it wanted.
WANTED = timedelta(days=90)


def run_name() -> str:
    """Return what the UI calls a run: data, when."""
    data: DataChoice = flow_run.parameters["data"]
    when = datetime.now(UTC).strftime("%Y-%m-%d %H:%M")
    return f"{data.dataset.split('/')[-1]} {data.percentage:g} % · {when}"


@flow(
    name=FLOW,
    flow_run_name=run_name,
    validate_parameters=True,
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
    upload_data(settings, prepared, _owner())
    return prepared


def _owner() -> Ownership:
    flow_run_id = str(flow_run.id)
    key = naming.run_key(flow_run_id)
    tags = ownership.ownership_tags(FLOW, flow_run_id, key, datetime.now(UTC), WANTED)
    return Ownership(flow_run_id=flow_run_id, key=key, tags=tags)
