"""A product endpoint's tags say where the traffic belongs."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from finetuning.azure.naming import ENDPOINT_RULE, product_name
from finetuning.azure.ownership import EXPIRES_TAG, KEEP_TAG, RUN_TAG
from finetuning.azure.product import (
    PRODUCT_TAG,
    UNTIL_TAG,
    Product,
    kept_tags,
    owned_tags,
    read_product,
)

NOW = datetime(2026, 5, 1, 12, tzinfo=UTC)
DAY = timedelta(days=1)
SERVES = Product(name="shop", serving="green", previous="blue", previous_until=NOW + DAY)


def test_what_the_tags_say_is_read_back() -> None:
    assert read_product("shop", SERVES.tags()) == SERVES
    assert read_product("shop", {"team": "sales"}) is None
    assert read_product("shop", None) is None


def test_a_date_that_nobody_can_read_is_none() -> None:
    tags = {**SERVES.tags(), UNTIL_TAG: "tomorrow"}

    found = read_product("shop", tags)

    assert found is not None and found.previous_until is None


def test_a_candidate_takes_the_place_that_does_not_serve() -> None:
    tried = SERVES.without("blue").trying()
    settled = tried.settled(NOW, DAY)

    assert (tried.serving, tried.candidate, tried.previous) == ("green", "blue", "")
    assert tried.home == {"green": 100}
    assert (settled.serving, settled.previous, settled.candidate) == ("blue", "green", "")
    assert settled.previous_until == NOW + DAY


def test_the_first_model_leaves_nothing_to_go_back_to() -> None:
    settled = Product(name="shop").trying().settled(NOW, DAY)

    assert (settled.serving, settled.previous, settled.previous_until) == ("blue", "", None)
    assert Product(name="shop").home == {}


def test_a_rollback_changes_places_and_one_during_a_promotion_ends_it() -> None:
    back = SERVES.rolled_back(NOW, DAY)
    during = SERVES.without("blue").trying().rolled_back(NOW, DAY)

    assert (back.serving, back.previous) == ("blue", "green")
    assert (during.serving, during.previous, during.candidate) == ("green", "blue", "")


def test_a_try_does_not_change_how_long_the_endpoint_is_kept() -> None:
    there = {**SERVES.tags(), **kept_tags(NOW, 90 * DAY), RUN_TAG: "old"}

    tags = owned_tags(there, {RUN_TAG: "new", KEEP_TAG: "false", EXPIRES_TAG: "soon"})

    assert tags[RUN_TAG] == "new"
    assert tags[KEEP_TAG] == "true" and tags[EXPIRES_TAG] == there[EXPIRES_TAG]
    assert tags[PRODUCT_TAG] == "true"


@given(model=st.text("aA1._-", min_size=1, max_size=255), workspace=st.text(max_size=50))
def test_a_products_name_is_within_azures_rules_and_its_models_own(
    model: str, workspace: str
) -> None:
    name = product_name(model, workspace)

    assert ENDPOINT_RULE.match(name) and len(name) <= 32
    assert name == product_name(model, workspace)
    assert name != product_name(model, f"{workspace}2")
