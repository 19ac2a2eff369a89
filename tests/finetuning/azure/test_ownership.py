"""Whose an orphan is, and what becomes of it: decided from tags, owners and the time."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from finetuning.azure.ownership import (
    EXPIRES_TAG,
    KEEP_TAG,
    SERVER_TAG,
    Decision,
    Orphan,
    Owner,
    decide,
    ownership_tags,
    read_tags,
    report,
)

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
DAY = timedelta(days=1)


def tags(*, keep: bool = False, lifetime: timedelta = DAY) -> dict[str, str]:
    return ownership_tags("fine-tune", "run-1", "key-1", NOW - DAY / 2, lifetime, keep=keep)


def endpoint(given: dict[str, str]) -> Orphan:
    found = read_tags("endpoint", "e", "Succeeded", given, 2.0)
    assert found is not None
    return found


def owner(
    *, alive: bool, run: str = "run-1", key: str = "key-1", until: datetime | None = None
) -> Owner:
    state = "Running" if alive else "Crashed"
    return Owner(
        flow_run_id=run, name="night", state=state, alive=alive, key=key, wanted_until=until
    )


@given(
    others=st.dictionaries(st.text(), st.text()),
    missing=st.sampled_from(sorted(set(tags()) - {KEEP_TAG, SERVER_TAG})),
)
def test_what_lacks_one_of_our_tags_is_never_ours(others: dict[str, str], missing: str) -> None:
    given = {name: value for name, value in {**others, **tags()}.items() if name != missing}

    assert read_tags("endpoint", "e", "Succeeded", given, 1.0) is None


@pytest.mark.parametrize("given", [None, {}, {**tags(), EXPIRES_TAG: "tomorrow"}])
def test_unreadable_tags_are_not_ours(given: dict[str, str] | None) -> None:
    assert read_tags("endpoint", "e", "Succeeded", given, 1.0) is None


def test_a_living_run_keeps_its_endpoint() -> None:
    assert not decide(endpoint(tags()), [owner(alive=True)], NOW).remove


def test_a_living_run_with_the_same_key_keeps_what_a_dead_one_made() -> None:
    owners = [owner(alive=False), owner(alive=True, run="run-2")]

    assert not decide(endpoint(tags()), owners, NOW).remove


@pytest.mark.parametrize(
    "owners",
    [[owner(alive=False)], [owner(alive=False), owner(alive=True, run="x", key="y")]],
)
def test_without_a_living_owner_it_goes(owners: list[Owner]) -> None:
    found = decide(endpoint(tags()), owners, NOW)

    assert found.remove
    assert found.node_hours == pytest.approx(24.0)  # two nodes, twelve hours to its expiry


def test_a_kept_endpoint_stays_until_its_expiry() -> None:
    kept = endpoint(tags(keep=True))

    assert not decide(kept, [owner(alive=False)], NOW).remove
    assert decide(kept, [owner(alive=False)], NOW + DAY).remove


def test_a_product_endpoint_that_serves_never_goes_and_is_told_when_it_expires() -> None:
    serves = endpoint(tags(keep=True)).model_copy(update={"serves": True})

    for owners in ([], [owner(alive=False)], [owner(alive=True)]):
        kept, expired = decide(serves, owners, NOW), decide(serves, owners, NOW + 9 * DAY)
        assert not kept.remove and not kept.expired
        assert not expired.remove and expired.expired and "has traffic" in expired.why


def test_an_old_deployment_stays_until_its_time_and_a_dead_runs_candidate_goes() -> None:
    old = read_tags("deployment", "shop/blue", "Succeeded", tags(keep=True), 1.0)
    candidate = read_tags("deployment", "shop/green", "Succeeded", tags(), 1.0)

    assert old is not None and candidate is not None
    assert not decide(old, [owner(alive=False)], NOW).remove
    assert decide(old, [owner(alive=False)], NOW + DAY).remove
    assert decide(candidate, [owner(alive=False)], NOW).remove
    assert not decide(candidate, [owner(alive=True)], NOW).remove


def test_a_job_is_not_kept_by_the_endpoints_wish() -> None:
    job = read_tags("job", "j", "Running", tags(keep=True), 1.0)

    assert job is not None
    assert decide(job, [owner(alive=False)], NOW).remove


def test_past_its_expiry_it_goes_even_from_a_living_run() -> None:
    assert decide(endpoint(tags()), [owner(alive=True)], NOW + DAY).remove


def test_a_run_taken_up_again_wants_it_beyond_the_first_attempts_tag() -> None:
    later = owner(alive=True, until=NOW + 3 * DAY)

    assert not decide(endpoint(tags()), [later], NOW + DAY).remove


def test_the_report_says_of_each_what_was_done() -> None:
    decisions: list[Decision] = [
        decide(endpoint(tags()), [owner(alive=False)], NOW),
        decide(endpoint(tags(keep=True)).model_copy(update={"name": "kept"}), [], NOW),
    ]

    text = report(decisions, {}, "would be removed")

    assert text.startswith("1 of 2 would be removed, saving at most 24.0 node-hours.")
    assert "| endpoint | kept | Succeeded | kept | asked to be kept until" in text
    assert "FAILED: no" in report(decisions, {"e": "no"})
