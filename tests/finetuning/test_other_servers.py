"""What another server's reaper leaves alone, and until when what it does not know is wanted."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from finetuning.azure.ownership import (
    CREATED_TAG,
    EXPIRES_TAG,
    SERVED_TAG,
    SERVER_TAG,
    TEMPORARY_SERVER,
    UNKNOWN_SERVER,
    Decision,
    Kind,
    Orphan,
    Owner,
    adopted_tags,
    decide,
    ownership_tags,
    read_tags,
    removes_many,
    report,
    served_tags,
)

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
DAY = timedelta(days=1)
HERE, THERE = "this-server", "another-server"


def orphan(server: str | None = HERE, run: str = "run-1", kind: Kind = "endpoint") -> Orphan:
    """What a run of this server made half a day ago, for a day; None: made by version 0.1.0."""
    tags = ownership_tags(
        "fine-tune", run, f"key of {run}", NOW - DAY / 2, DAY, server=server or ""
    )
    if server is None:
        del tags[SERVER_TAG]
    found = read_tags(kind, f"{kind} of {run}", "Running", tags, 1.0)
    assert found is not None
    return found


def owner(*, alive: bool, run: str = "run-1") -> Owner:
    state = "Running" if alive else "Crashed"
    return Owner(flow_run_id=run, name="night", state=state, alive=alive, key=f"key of {run}")


@pytest.mark.parametrize("owners", [[], [owner(alive=False)], [owner(alive=True)]])
@pytest.mark.parametrize("when", [NOW, NOW + 30 * DAY])
def test_what_belongs_to_another_server_is_never_removed(
    owners: list[Owner], when: datetime
) -> None:
    decision = decide(orphan(THERE), owners, when, {HERE})

    assert not decision.remove and decision.unclear
    assert f"belongs to the Prefect server {THERE}" in decision.why


def test_what_another_server_left_beyond_its_expiry_is_told_as_expired() -> None:
    decision = decide(orphan(THERE), [], NOW + DAY, {HERE})

    assert decision.expired
    assert decision.why.startswith("EXPIRED 2026-03-02 00:00 UTC")


def test_what_a_lost_server_owned_goes_at_its_expiry_and_not_before() -> None:
    assert not decide(orphan(THERE), [], NOW, {HERE, THERE}).remove
    assert decide(orphan(THERE), [], NOW + DAY, {HERE, THERE}).remove


@pytest.mark.parametrize("server", [HERE, None, "", UNKNOWN_SERVER, TEMPORARY_SERVER])
def test_what_belongs_to_a_run_that_is_not_known_stays_until_its_expiry(server: str | None) -> None:
    before = decide(orphan(server), [], NOW, {HERE})
    after = decide(orphan(server), [], NOW + DAY, {HERE})

    assert not before.remove and before.unclear and "is not known here" in before.why
    assert after.remove and after.expired


@pytest.mark.parametrize("server", [HERE, None, UNKNOWN_SERVER])
def test_what_belongs_to_a_run_that_is_known_and_dead_goes(server: str | None) -> None:
    assert decide(orphan(server), [owner(alive=False)], NOW, {HERE}).remove
    assert not decide(orphan(server), [owner(alive=True)], NOW, {HERE}).remove


@given(server=st.text(min_size=1), others=st.sets(st.text()))
def test_whatever_a_server_is_called_only_its_own_reaper_removes(
    server: str, others: set[str]
) -> None:
    decision = decide(orphan(server), [owner(alive=False)], NOW, others - {server})

    assert not decision.remove or server in (UNKNOWN_SERVER, TEMPORARY_SERVER)


def test_the_report_says_how_much_was_left_because_nobody_here_knows_its_run() -> None:
    decisions = [decide(one, [], NOW, {HERE}) for one in (orphan(THERE), orphan(HERE, "run-2"))]

    assert "2 left because their runs are not known here." in report(decisions, {})


def decisions(dead: int, living: int, strange: int = 0) -> list[Decision]:
    owners = [owner(alive=False, run=f"dead-{n}") for n in range(dead)]
    owners += [owner(alive=True, run=f"living-{n}") for n in range(living)]
    mine = [
        orphan(run=one.flow_run_id, kind=kind) for one in owners for kind in ("endpoint", "job")
    ]
    foreign = [orphan(THERE, run=f"strange-{n}") for n in range(strange)]
    return [decide(one, owners, NOW, {HERE}) for one in [*mine, *foreign]]


@pytest.mark.parametrize(("dead", "living"), [(0, 0), (1, 0), (2, 0), (3, 3), (3, 4)])
def test_few_dead_runs_are_no_mass(dead: int, living: int) -> None:
    assert removes_many(decisions(dead, living)) is None


@pytest.mark.parametrize(("dead", "living"), [(3, 0), (3, 2), (50, 49)])
def test_most_of_the_runs_at_once_are_a_mass(dead: int, living: int) -> None:
    told = removes_many(decisions(dead, living))

    assert told == f"what {dead} of {dead + living} runs left"


def test_what_belongs_to_others_does_not_make_a_mass_look_small() -> None:
    assert removes_many(decisions(3, 0, strange=100)) is not None


def test_an_adopted_endpoint_keeps_its_times_and_becomes_the_runs() -> None:
    there = ownership_tags("fine-tune", "first", "key", NOW, DAY, server=HERE)
    own = ownership_tags("fine-tune", "second", "key", NOW + DAY, DAY, keep=True, server=THERE)

    tags = adopted_tags({**there, "team": "ours"}, own)

    assert tags == {
        **own,
        "team": "ours",
        CREATED_TAG: there[CREATED_TAG],
        EXPIRES_TAG: there[EXPIRES_TAG],
    }


def test_a_server_that_could_not_be_asked_does_not_replace_one_that_could() -> None:
    there = ownership_tags("fine-tune", "run", "key", NOW, DAY, server=HERE)
    own = ownership_tags("fine-tune", "run", "key", NOW, DAY)

    assert adopted_tags(there, own)[SERVER_TAG] == HERE
    assert adopted_tags(own, there)[SERVER_TAG] == HERE


def test_a_kept_endpoint_expires_so_many_hours_after_it_began_to_serve() -> None:
    there = ownership_tags("fine-tune", "run", "key", NOW, DAY, keep=True, server=HERE)
    later = NOW + timedelta(hours=20)

    served = served_tags(there, later, 24)

    assert served[EXPIRES_TAG] == (later + DAY).isoformat()
    assert served[SERVED_TAG] == later.isoformat()
    assert served[CREATED_TAG] == there[CREATED_TAG]


def test_beginning_to_serve_again_extends_nothing() -> None:
    there = ownership_tags("fine-tune", "run", "key", NOW, DAY, keep=True, server=HERE)
    served = served_tags(there, NOW, 24)

    assert served_tags(served, NOW + DAY, 24) == served
    assert adopted_tags(served, {**there, EXPIRES_TAG: "later"}) == served
