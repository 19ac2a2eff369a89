"""What a run begins with: its name, its ownership of what it makes, its deadlines."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from prefect.runtime import flow_run

from finetuning.azure.naming import run_key
from finetuning.azure.ownership import Ownership, ownership_tags
from finetuning.form.context import RunContext
from finetuning.form.run import FineTune
from tasks.connection import find_settings

#: The flow whose runs own jobs and endpoints; the reaper and the poller ask for it by name.
FINE_TUNE = "fine-tune"


def named_once(title: str) -> str:
    """Return the run's name: ``title`` and when it first began, whatever begins it again."""
    if flow_run.run_count:
        return str(flow_run.name)
    return f"{title} · {datetime.now(UTC):%Y-%m-%d %H:%M}"


def own(flow: str, lifetime: timedelta, key: str | None = None, *, keep: bool = False) -> Ownership:
    """Return the ownership of this flow run: its id and key, and the tags that say so.

    ``key`` is the caller's own (``run.key``); ``lifetime`` is how long from now what the run makes
    is wanted at most.
    """
    flow_run_id = str(flow_run.id)
    derived = run_key(flow_run_id, key)
    tags = ownership_tags(flow, flow_run_id, derived, datetime.now(UTC), lifetime, keep=keep)
    return Ownership(flow_run_id=flow_run_id, key=derived, tags=tags)


def run_context() -> RunContext:
    """Return what the steps of this fine-tune are handed, as its parameters say.

    Raises:
        SettingsError: the connection is not configured.
    """
    run: FineTune = flow_run.parameters["run"]
    lifetime = timedelta(minutes=run.deadlines.total_minutes)
    if run.endpoint.keep:
        lifetime += timedelta(hours=run.endpoint.keep_hours)
    owner = own(FINE_TUNE, lifetime, run.key, keep=run.endpoint.keep)
    return RunContext(settings=find_settings(), owner=owner, deadlines=run.deadlines)
