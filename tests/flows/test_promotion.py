"""A promotion moves a product endpoint's traffic by steps, and at the first doubt back."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from finetuning.azure.client import open_client
from finetuning.azure.ownership import EXPIRES_TAG, KEEP_TAG, KEY_TAG, RUN_TAG
from finetuning.azure.product import Product
from finetuning.azure.settings import Settings
from finetuning.errors import PromotionError
from finetuning.form.promotion import Rollout
from flows.fine_tune import fine_tune
from flows.promote import promote
from flows.reap import reap
from flows.rollback import rollback
from tasks.evaluation import CHAMPION_TAG
from tests.conftest import RunningEmulator
from tests.support import canned
from tests.support.runs import small
from tests.support.shop import Shop

pytestmark = pytest.mark.slow


@pytest.fixture
def shop(stage: RunningEmulator, settings: Settings, tmp_path: Path) -> Iterator[Shop]:
    found = Shop(settings, tmp_path)
    yield found
    client = open_client(settings)
    if any(one.name == found.name for one in client.online_endpoints.list()):
        client.online_endpoints.begin_delete(found.name).wait()


def test_the_first_model_serves_and_a_better_one_takes_its_place_by_steps(
    shop: Shop, emulator: RunningEmulator
) -> None:
    first = shop.promoted("1", {"answer": canned.GOOD})

    assert (first.outcome, first.serving, first.previous) == ("promoted", "blue", "")
    assert shop.traffic == {"blue": 100}
    assert shop.endpoint.tags[KEEP_TAG] == "true"
    expires = datetime.fromisoformat(shop.endpoint.tags[EXPIRES_TAG])
    assert timedelta(days=89) < expires - datetime.now(UTC) < timedelta(days=91)

    before = emulator.requests()[-1]["index"]
    second = shop.promoted("2", {"answer": canned.GOOD}, mirror_percent=20)

    assert (second.outcome, second.serving, second.previous) == ("promoted", "green", "blue")
    assert [one.step for one in second.steps] == [
        "no traffic", "20 % mirrored", "10 %", "50 %", "100 %",
    ]  # fmt: skip
    assert all(one.candidate.asked == len(canned.QUESTIONS) for one in second.steps)
    assert all(one.candidate.failed == 0 and one.candidate.score == 1 for one in second.steps)
    assert shop.traffic == {"green": 100} and shop.deployments == {"blue": "1", "green": "2"}
    puts = [
        one
        for one in emulator.requests(after=before)
        if one["method"] == "PUT" and one["path"].endswith(f"onlineEndpoints/{shop.name}")
    ]
    assert len(puts) == 7  # its name, no traffic, mirrored, three steps, and that it serves

    again = promote(shop.promotion("2"))

    assert again.outcome == "already there" and shop.traffic == {"green": 100}

    back = rollback(shop.name)

    assert back.serving == "blue" and back.previous == "green"
    assert shop.all_is_on("1")


@pytest.mark.parametrize(
    "model, at, why",
    [
        ({"answer": canned.BAD}, "no traffic", "score 0.000"),
        ({"crashes_after": len(canned.QUESTIONS) + 2}, "10 %", "probes failed"),
        ({"seconds": 1.0}, "no traffic", "p95 latency"),
    ],
    ids=["a worse one", "a crashing one", "a slow one"],
)
def test_a_bad_candidate_gives_the_traffic_back_and_is_gone(
    shop: Shop, model: dict[str, Any], at: str, why: str
) -> None:
    shop.promoted("1", {})

    with pytest.raises(PromotionError, match=why) as raised:
        shop.promoted("2", model, max_slowdown=2)

    assert f"failed at {at}" in str(raised.value)
    assert shop.all_is_on("1") and shop.deployments == {"blue": "1"}
    assert shop.product == Product(name=shop.name, serving="blue")


def test_a_first_model_that_does_not_come_up_leaves_no_endpoint(
    shop: Shop, emulator: RunningEmulator
) -> None:
    emulator.add_fault(kind="deployment_fails", message="no node is free")

    with pytest.raises(PromotionError, match="no node is free"):
        shop.promoted("1", {})

    names = [one.name for one in open_client(shop.settings).online_endpoints.list()]
    assert shop.name not in names


def test_an_endpoint_that_is_no_product_is_left_alone(shop: Shop) -> None:
    from azure.ai.ml.entities import ManagedOnlineEndpoint

    client = open_client(shop.settings)
    made = ManagedOnlineEndpoint(name=shop.name, auth_mode="key", tags={"team": "sales"})
    client.online_endpoints.begin_create_or_update(made).wait()

    with pytest.raises(PromotionError, match="is no product endpoint"):
        shop.promoted("1", {})
    with pytest.raises(PromotionError, match="no product endpoint"):
        rollback(shop.name)

    assert shop.endpoint.tags == {"team": "sales"} and shop.deployments == {}


def test_the_old_model_goes_when_its_time_is_over_and_what_serves_stays(shop: Shop) -> None:
    shop.promoted("1", {})
    shop.promoted("2", {}, keep_old_hours=0)
    assert shop.deployments == {"blue": "1", "green": "2"}

    decisions = {one.found.name: one for one in reap()}

    assert decisions[f"{shop.name}/blue"].remove and not decisions[shop.name].remove
    assert shop.deployments == {"green": "2"} and shop.all_is_on("2")
    assert shop.product == Product(name=shop.name, serving="green")
    with pytest.raises(PromotionError, match="no old deployment to go back to"):
        rollback(shop.name)


def test_what_another_run_is_promoting_onto_is_left_to_it(shop: Shop) -> None:
    shop.promoted("1", {})
    shop.promoted("2", {})
    theirs = shop.product.model_copy(update={"candidate": "blue", "previous": ""})
    endpoint = shop.endpoint
    endpoint.tags.update({**theirs.tags(), KEY_TAG: "another", RUN_TAG: "their-run"})
    open_client(shop.settings).online_endpoints.begin_create_or_update(endpoint).wait()

    with pytest.raises(PromotionError, match="promoted onto by the run their-run"):
        shop.promoted("3", {})

    assert shop.product == theirs and shop.all_is_on("2")


def test_a_fine_tune_whose_model_is_the_first_lets_it_serve_and_crowns_it(shop: Shop) -> None:
    rules = shop.promotion("any").model_dump(include=set(Rollout.model_fields))
    run = small(
        uuid.uuid4().hex,
        registered_name=shop.name,
        evaluation={
            "compare": "kept",
            "max_new_tokens": 8,
            "own": {"rows": 2},
            "general": {"on": False},
        },
        promotion={**rules, "when": "if_better", "probe_file": None, "probe_rows": 2},
    )

    result = fine_tune(run)

    assert result.verdict is not None and result.verdict.decision == "hold"
    assert result.promotion is not None and result.promotion.outcome == "promoted"
    assert shop.all_is_on(result.registered.version)
    model = open_client(shop.settings).models.get(shop.name, version=result.registered.version)
    assert model.tags[CHAMPION_TAG] == "true"
    names = [one.name for one in open_client(shop.settings).online_endpoints.list()]
    assert shop.name in names and result.endpoint not in names
