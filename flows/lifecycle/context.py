"""What a run begins with: its name, its ownership of what it makes, its deadlines."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from uuid import UUID

from prefect.context import FlowRunContext
from prefect.runtime import flow_run

from finetuning.azure.naming import run_key
from finetuning.azure.ownership import Ownership, ownership_tags
from finetuning.form.context import RunContext
from finetuning.form.run import FineTune
from flows.lifecycle.history import has_begun_before, read_history, retried_at
from flows.lifecycle.server import server_tag
from tasks.connection import find_settings

#: The flow whose runs own jobs and endpoints; the reaper and the poller ask for it by name.
FINE_TUNE = "fine-tune"


def named_once(title: str) -> str:
    """Return the run's name: ``title`` and when it first began, whatever begins it again."""
    if flow_run.run_count:
        return str(flow_run.name)
    return f"{title} · {datetime.now(UTC):%Y-%m-%d %H:%M}"


def own(
    flow: str,
    lifetime: timedelta,
    key: str | None = None,
    *,
    keep: bool = False,
    begun: datetime | None = None,
) -> Ownership:
    """Return the ownership of this flow run: its id and key, and the tags that say so.

    ``key`` is the caller's own (``run.key``); ``lifetime`` is how long from the run's first
    beginning, or from ``begun``, what it makes is wanted at most: a restart does not extend it.
    """
    flow_run_id = str(flow_run.id)
    derived = run_key(flow_run_id, key)
    tags = ownership_tags(
        flow, flow_run_id, derived, begun or _begun(), lifetime, keep=keep, server=server_tag()
    )
    return Ownership(flow_run_id=flow_run_id, key=derived, tags=tags)


def _begun() -> datetime:
    """Return when the run first began, by the server's clock where it said so."""
    context = FlowRunContext.get()
    run = context.flow_run if context else None
    if run is None:
        return datetime.now(UTC)
    running = run.state.timestamp if run.state and run.state.is_running() else None
    return run.start_time or running or datetime.now(UTC)


def run_context() -> RunContext:
    """Return what the steps of this fine-tune are handed, as its parameters say.

    What it makes is wanted until its deadlines are over, counted from its last retry; an endpoint
    that is kept is dated anew when it begins to serve. Where Prefect's server does not tell the
    run's history, the run counts as begun again by a restart, which submits nothing twice.

    Raises:
        SettingsError: the connection is not configured.
    """
    run: FineTune = flow_run.parameters["run"]
    lifetime = timedelta(minutes=run.deadlines.total_minutes)
    history = read_history(UUID(str(flow_run.id)))
    retries = retried_at(history)
    begun = retries[-1] if retries else None
    return RunContext(
        settings=find_settings(),
        owner=own(FINE_TUNE, lifetime, run.key, keep=run.endpoint.keep, begun=begun),
        deadlines=run.deadlines,
        retries=len(retries),
        begun_before=flow_run.run_count > 1 or has_begun_before(history),
    )
