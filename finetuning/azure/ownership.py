"""Whose a resource is, by its tags alone: what is written on it, and who may remove it.

Everything here is decided from plain values: the tags that Azure returned, what the orchestrator
knows of the owner, and the time. Nothing without our tags ever becomes an ``Orphan``.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Literal

from pydantic import BaseModel, ConfigDict

FLOW_TAG = "finetune.flow"


RUN_TAG = "finetune.flow-run-id"


KEY_TAG = "finetune.run-key"


CREATED_TAG = "finetune.created"


EXPIRES_TAG = "finetune.expires"


KEEP_TAG = "finetune.keep"


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
) -> dict[str, str]:
    """Return the tags that say whose a resource is and until when it is wanted (times in UTC)."""
    return {
        FLOW_TAG: flow,
        RUN_TAG: flow_run_id,
        KEY_TAG: key,
        CREATED_TAG: created.isoformat(timespec="seconds"),
        EXPIRES_TAG: (created + lifetime).isoformat(timespec="seconds"),
        KEEP_TAG: str(keep).lower(),
    }


Kind = Literal["endpoint", "job"]


class Orphan(BaseModel):
    """An endpoint or a job that bears our tags. ``nodes``: how many bill while it is there."""

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
    """What is done with a leftover, why, and how many node-hours that saves at most."""

    model_config = ConfigDict(frozen=True)

    found: Orphan
    remove: bool
    why: str
    node_hours: float = 0.0


def read_tags(
    kind: Kind, name: str, state: str, tags: Mapping[str, str] | None, nodes: float
) -> Orphan | None:
    """Return whose the resource is, or None if its tags do not say that it is ours.

    All four tags must be there and be readable: what we are not sure to have made is not ours.
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
        )
    except (KeyError, ValueError):
        return None


def decide(found: Orphan, owners: Iterable[Owner], now: datetime) -> Decision:
    """Return what to do with a leftover.

    It stays while a living run owns it (by its id or by a shared key) and neither its expiry nor
    that run's own deadlines have passed; and, where it was asked to be kept, until its expiry.
    """
    known = [one for one in owners if _owns(one, found)]
    living = [one for one in known if one.alive]
    if living:
        until = max([found.expires, *(one.wanted_until or found.expires for one in living)])
        if now < until:
            return _stays(found, f"run '{living[0].name}' is {living[0].state}")
        return _goes(found, f"expired {until:%Y-%m-%d %H:%M} UTC", now)
    if now >= found.expires:
        return _goes(found, f"expired {found.expires:%Y-%m-%d %H:%M} UTC", now)
    if found.keep and found.kind == "endpoint":
        return _stays(found, f"asked to be kept until {found.expires:%Y-%m-%d %H:%M} UTC")
    if known:
        return _goes(found, f"its run '{known[0].name}' is {known[0].state}", now)
    return _goes(found, f"its run {found.flow_run_id} is not known", now)


def _owns(owner: Owner, found: Orphan) -> bool:
    return owner.flow_run_id == found.flow_run_id or owner.key == found.key


def _stays(found: Orphan, why: str) -> Decision:
    return Decision(found=found, remove=False, why=why)


def _goes(found: Orphan, why: str, now: datetime) -> Decision:
    hours = max((found.expires - now).total_seconds() / 3600, 0.0)
    return Decision(found=found, remove=True, why=why, node_hours=found.nodes * hours)


def _moment(text: str) -> datetime:
    moment = datetime.fromisoformat(text)
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def report(decisions: list[Decision], failures: Mapping[str, str], *, dry_run: bool) -> str:
    """Return what was done as markdown: a sentence, and a row per resource with our tags."""
    gone = [one for one in decisions if one.remove and one.found.name not in failures]
    hours = sum(one.node_hours for one in gone)
    verb = "would be removed" if dry_run else "removed"
    first = f"{len(gone)} of {len(decisions)} {verb}, saving at most {hours:.1f} node-hours."
    rows = [
        f"| {one.found.kind} | {one.found.name} | {one.found.state} | {_done(one, failures, verb)} "
        f"| {one.why} | {one.node_hours:.1f} |"
        for one in decisions
    ]
    head = [
        "| what | name | state | done | why | node-hours |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    return "\n".join([first, "", *head, *rows])


def _done(one: Decision, failures: Mapping[str, str], verb: str) -> str:
    if one.found.name in failures:
        return f"FAILED: {failures[one.found.name]}"
    return verb if one.remove else "kept"
