"""A promotion moves a product endpoint's traffic by steps, and at the first doubt back."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from finetuning.azure.client import open_client
from finetuning.azure.ownership import EXPIRES_TAG, KEEP_TAG
from finetuning.azure.product import Product, read_product
from finetuning.azure.settings import Settings
from finetuning.errors import PromotionError
from finetuning.form.promote import Promote
from finetuning.form.promotion import Promoted
from flows.promote import promote
from flows.rollback import rollback
from tests.conftest import RunningEmulator
from tests.support import canned

pytestmark = pytest.mark.slow

QUICK = {
    "deployment_minutes": 2,
    "deletion_minutes": 1,
    "outage_minutes": 0.5,
    "poll_seconds": 0.2,
}


class Shop:
    """A product endpoint of a test's own, and the versions of its model."""

    def __init__(self, settings: Settings, folder: Path) -> None:
        self.settings, self.name = settings, f"shop-{uuid.uuid4().hex[:8]}"
        self.probes = canned.probes(folder)

    def promotion(self, version: str, **changes: Any) -> Promote:
        values: dict[str, Any] = {
            "model": self.name,
            "version": version,
            "endpoint": self.name,
            "instance_type": "Standard_NC24ads_A100_v4",
            "probe_initial_delay_s": 1,
            "dwell_minutes": 0,
            "probe_file": self.probes,
            "max_new_tokens": 8,
            "max_slowdown": 20,
            "deadlines": QUICK,
        }
        return Promote.model_validate({**values, **changes})

    def promoted(self, version: str, model: dict[str, Any], **changes: Any) -> Promoted:
        """Register a version that answers so, and promote it."""
        canned.register(self.settings, self.name, version, **model)
        return promote(self.promotion(version, **changes))

    @property
    def endpoint(self) -> Any:
        return open_client(self.settings).online_endpoints.get(self.name)

    @property
    def product(self) -> Product:
        found = read_product(self.name, self.endpoint.tags)
        assert found is not None
        return found

    @property
    def traffic(self) -> dict[str, int]:
        return {name: share for name, share in self.endpoint.traffic.items() if share}

    @property
    def deployments(self) -> dict[str, str]:
        """The model of each deployment."""
        listed = open_client(self.settings).online_deployments.list(self.name)
        return {one.name: str(one.model).rsplit("/", 1)[-1] for one in listed}

    def all_is_on(self, version: str) -> bool:
        """Whether exactly one deployment has all the traffic, and serves this version."""
        (name,) = self.traffic
        return self.traffic == {name: 100} and self.deployments[name] == version


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
