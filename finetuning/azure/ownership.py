"""Whose a resource is, by its tags alone: what is written on it, and who may remove it.

Everything here is decided from plain values: the tags that Azure returned, what the orchestrator
knows of the owner, and the time. Nothing without our tags ever becomes an ``Orphan``. Who does not
know a run is not asked about it: what belongs to another server is never removed, and what belongs
to an unknown run not before its expiry.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Literal

from pydantic import BaseModel, ConfigDict

FLOW_TAG = "finetune.flow"


RUN_TAG = "finetune.flow-run-id"


KEY_TAG = "finetune.run-key"


CREATED_TAG = "finetune.created"


EXPIRES_TAG = "finetune.expires"


KEEP_TAG = "finetune.keep"


SERVER_TAG = "finetune.server"


#: How often its run had been begun again on purpose when a job was submitted.
RETRY_TAG = "finetune.retry"


#: Why the attempt before a job failed, and in which parameters the job differs from its plan.
CAUSE_TAG, CHANGES_TAG = "finetune.recovery.cause", "finetune.recovery.changes"


#: When a kept endpoint began to be served: its expiry counts from here.
SERVED_TAG = "finetune.served"


#: What stands in the server's place where the server could not be asked, and on what version 0.1.0
#: made, which names none.
UNKNOWN_SERVER = "unknown"


#: The same for a run without a server that outlives it: no reaper can ever ask that one.
TEMPORARY_SERVER = "temporary"


class Ownership(BaseModel):
    """Whose a resource is: the flow run, its key, and the tags that say so."""

    model_config = ConfigDict(frozen=True)

    flow_run_id: str
    key: str
    tags: dict[str, str]


def ownership_tags(
    flow: str,
    flow_run_id: str,
    key: str,
    created: datetime,
    lifetime: timedelta,
    *,
    keep: bool = False,
    server: str = UNKNOWN_SERVER,
) -> dict[str, str]:
    """Return the tags that say whose a resource is and until when it is wanted (times in UTC)."""
    return {
        SERVER_TAG: server,
        FLOW_TAG: flow,
        RUN_TAG: flow_run_id,
        KEY_TAG: key,
        CREATED_TAG: created.isoformat(timespec="seconds"),
        EXPIRES_TAG: (created + lifetime).isoformat(timespec="seconds"),
        KEEP_TAG: str(keep).lower(),
    }


def adopted_tags(there: Mapping[str, str], own: Mapping[str, str]) -> dict[str, str]:
    """Return the tags of an endpoint that a run adopts: the run's, with the endpoint's own times.

    Beginning again makes nothing wanted for longer. A server that could not be asked does not
    replace one that could.
    """
    stays = [name for name in (CREATED_TAG, EXPIRES_TAG, SERVED_TAG) if name in there]
    if own.get(SERVER_TAG) == UNKNOWN_SERVER and SERVER_TAG in there:
        stays.append(SERVER_TAG)
    return {**there, **own, **{name: there[name] for name in stays}}


def served_tags(there: Mapping[str, str], now: datetime, kept_hours: float) -> dict[str, str]:
    """Return the tags of a kept endpoint that begins to serve: it expires so many hours later.

    One that serves already keeps its expiry.
    """
    if SERVED_TAG in there:
        return dict(there)
    expires = now + timedelta(hours=kept_hours)
    return {
        **there,
        SERVED_TAG: now.isoformat(timespec="seconds"),
        EXPIRES_TAG: expires.isoformat(timespec="seconds"),
    }


Kind = Literal["endpoint", "deployment", "job"]


class Orphan(BaseModel):
    """An endpoint or a job that bears our tags. ``nodes``: how many bill while it is there.

    A deployment is one of a product endpoint's that does not serve; its name is
    ``ENDPOINT/DEPLOYMENT``. ``serves``: a product endpoint whose traffic somebody relies on.
    ``server``: the id of the Prefect server that knows its run.
    """

    model_config = ConfigDict(frozen=True)

    kind: Kind
    name: str
    state: str
    nodes: float
    flow: str
    flow_run_id: str
    key: str
    created: datetime
    expires: datetime
    keep: bool
    serves: bool = False
    server: str = UNKNOWN_SERVER

    @property
    def names_its_server(self) -> bool:
        """Return whether there is a server that can be asked for its run."""
        return self.server not in (UNKNOWN_SERVER, TEMPORARY_SERVER)


class Orphans(BaseModel):
    """What a listing showed that is ours, and what could not be looked at, with the reason."""

    model_config = ConfigDict(frozen=True)

    found: list[Orphan]
    problems: dict[str, str]


class Owner(BaseModel):
    """What the orchestrator knows of a run that may want a resource.

    ``waiting_since``: when it should have gone on, for a run that nobody has taken up yet.
    ``wanted_until``: the end of the run's own deadlines, whatever an older tag says.
    """

    model_config = ConfigDict(frozen=True)

    flow_run_id: str
    name: str
    state: str
    alive: bool
    key: str
    wanted_until: datetime | None = None


class Decision(BaseModel):
    """What is done with an orphan, why, and how many node-hours that saves at most.

    ``expired``: it has outlived its expiry. ``unclear``: it stays, for its run is not known here.
    """

    model_config = ConfigDict(frozen=True)

    found: Orphan
    remove: bool
    why: str
    node_hours: float = 0.0
    expired: bool = False
    unclear: bool = False


def read_tags(
    kind: Kind, name: str, state: str, tags: Mapping[str, str] | None, nodes: float
) -> Orphan | None:
    """Return whose the resource is, or None if its tags do not say that it is ours.

    The tags of flow, run, key, creation and expiry must be there and be readable: what we are not
    sure to have made is not ours. The server's may be missing, as version 0.1.0 left it.
    """
    given = dict(tags or {})
    try:
        return Orphan(
            kind=kind,
            name=name,
            state=state,
            nodes=nodes,
            flow=given[FLOW_TAG],
            flow_run_id=given[RUN_TAG],
            key=given[KEY_TAG],
            created=_moment(given[CREATED_TAG]),
            expires=_moment(given[EXPIRES_TAG]),
            keep=given.get(KEEP_TAG, "false") == "true",
            server=given.get(SERVER_TAG) or UNKNOWN_SERVER,
        )
    except (KeyError, ValueError):
        return None


def decide(
    found: Orphan, owners: Iterable[Owner], now: datetime, servers: Collection[str] = ()
) -> Decision:
    """Return what to do with an orphan; ``servers``: those whose runs ``owners`` tells of.

    It stays while a living run owns it (by its id or by a shared key) and neither its expiry nor
    that run's own deadlines have passed; where it was asked to be kept, until its expiry; where its
    run is not known, until its expiry; and always where another server's run owns it, or where it
    is a product endpoint that serves.
    """
    known = [one for one in owners if _owns(one, found)]
    living = [one for one in known if one.alive]
    if found.names_its_server and found.server not in servers:
        return _is_anothers(found, now)
    if found.serves:
        return _serves_on(found, now)
    if living:
        until = max([found.expires, *(one.wanted_until or found.expires for one in living)])
        if now < until:
            return _stays(found, f"run '{living[0].name}' is {living[0].state}")
        return _expired(found, until, now)
    if now >= found.expires:
        return _expired(found, found.expires, now)
    until = found.expires
    if found.keep and found.kind != "job":
        return _stays(found, f"asked to be kept until {_utc(until)}")
    if known:
        return _goes(found, f"its run '{known[0].name}' is {known[0].state}", now)
    why = f"its run {found.flow_run_id} is not known here: left until its expiry, {_utc(until)}"
    return Decision(found=found, remove=False, why=why, unclear=True)


def _owns(owner: Owner, found: Orphan) -> bool:
    return owner.flow_run_id == found.flow_run_id or owner.key == found.key


def _is_anothers(found: Orphan, now: datetime) -> Decision:
    """Leave it: that server may know of a run that still wants it, whatever its tag says."""
    expired = now >= found.expires
    why = f"belongs to the Prefect server {found.server}: left to the reaper there"
    if expired:
        why = f"EXPIRED {_utc(found.expires)}, but {why}; if that server is gone, name it as lost"
    return Decision(found=found, remove=False, why=why, expired=expired, unclear=True)


def _serves_on(found: Orphan, now: datetime) -> Decision:
    """Leave it: somebody's requests go there. Past its expiry a person decides."""
    if now < found.expires:
        return _stays(found, f"serves; asked to be kept until {_utc(found.expires)}")
    why = f"EXPIRED {_utc(found.expires)}, but it has traffic: promote onto it, or delete it"
    return Decision(found=found, remove=False, why=why, expired=True)


def _stays(found: Orphan, why: str) -> Decision:
    return Decision(found=found, remove=False, why=why)


def _expired(found: Orphan, since: datetime, now: datetime) -> Decision:
    gone = _goes(found, f"expired {_utc(since)}", now)
    return gone.model_copy(update={"expired": True})


def _goes(found: Orphan, why: str, now: datetime) -> Decision:
    hours = max((found.expires - now).total_seconds() / 3600, 0.0)
    return Decision(found=found, remove=True, why=why, node_hours=found.nodes * hours)


def _utc(moment: datetime) -> str:
    return f"{moment.astimezone(UTC):%Y-%m-%d %H:%M} UTC"


#: Of how many runs at once, and of which share of those that own something here, a reaper removes
#: what they left without being told to: one night's accident is less, a wrong database is more.
MANY_RUNS, MANY_SHARE = 3, 0.5


def removes_many(decisions: Iterable[Decision]) -> str | None:
    """Return how much would go, where that is more than an accident's; else None.

    Counted in runs, of those that this reaper may decide on: a job and its endpoint go together.
    """
    ours = [one for one in decisions if not (one.unclear and one.found.names_its_server)]
    there = {one.found.flow_run_id for one in ours}
    doomed = {one.found.flow_run_id for one in ours if one.remove}
    if len(doomed) < MANY_RUNS or len(doomed) <= MANY_SHARE * len(there):
        return None
    return f"what {len(doomed)} of {len(there)} runs left"


def _moment(text: str) -> datetime:
    moment = datetime.fromisoformat(text)
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def report(decisions: list[Decision], failures: Mapping[str, str], did: str = "removed") -> str:
    """Return what was done as markdown: a sentence, and a row per resource with our tags.

    ``did``: what was done with what goes; ``failures``: what went wrong, by name.
    """
    gone = [one for one in decisions if one.remove and one.found.name not in failures]
    hours = sum(one.node_hours for one in gone)
    first = f"{len(gone)} of {len(decisions)} {did}, saving at most {hours:.1f} node-hours."
    unclear = sum(one.unclear for one in decisions)
    if unclear:
        first += f" {unclear} left because their runs are not known here."
    rows = [
        f"| {one.found.kind} | {one.found.name} | {one.found.state} | {_done(one, failures, did)} "
        f"| {one.why} | {one.node_hours:.1f} |"
        for one in decisions
    ]
    head = [
        "| what | name | state | done | why | node-hours |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    decided = {one.found.name for one in decisions}
    unseen = [f"- {name}: {why}" for name, why in failures.items() if name not in decided]
    seen = ["", "Could not be looked at:", "", *unseen] if unseen else []
    return "\n".join([first, "", *head, *rows, *seen])


def _done(one: Decision, failures: Mapping[str, str], did: str) -> str:
    if one.found.name in failures:
        return f"FAILED: {failures[one.found.name]}"
    return did if one.remove else "kept"
