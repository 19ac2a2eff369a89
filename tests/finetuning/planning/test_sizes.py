"""Sizes from the card: the first recommended one that is offered, has quota, and lives on."""

from __future__ import annotations

from datetime import date
from typing import Any

import pytest

from finetuning.form.run import ComputeChoice, EndpointChoice
from finetuning.planning.facts import ClusterFacts, ComputeFacts, NodeSize, Quota
from finetuning.planning.findings import Report
from finetuning.planning.lifecycle import LIFECYCLE, Calendar
from finetuning.planning.model_card import ModelCard
from finetuning.planning.sizes import settle_compute, settle_endpoint

CALENDAR = Calendar(date(2026, 11, 27), LIFECYCLE.load())
V100, A100, T4 = "Standard_NC6s_v3", "Standard_NC24ads_A100_v4", "Standard_NC4as_T4_v3"


def size(name: str, family: str, vcpus: int) -> NodeSize:
    return NodeSize(name=name, family=family, vcpus=vcpus, gpus=1, memory_gb=100, disk_gb=100)


SIZES = {
    one.name.lower(): one
    for one in (
        size(V100, "standardNCSv3Family", 6),
        size(A100, "standardNCADSA100v4Family", 24),
        size(T4, "standardNCASv3_T4Family", 4),
    )
}


def region(**quotas: int) -> ComputeFacts:
    found = {name: Quota(used=0, limit=limit) for name, limit in quotas.items()}
    return ComputeFacts(sizes=SIZES, quotas=found)


def card(*recommended: str, allowed: tuple[str, ...] | None = None) -> ModelCard:
    return ModelCard(
        finetune_recommended=recommended or None, inference_recommended=recommended or None,
        finetune_sizes=allowed, inference_sizes=allowed,
    )  # fmt: skip


def compute(found: ModelCard, facts: ComputeFacts, **choice: Any) -> tuple[ComputeChoice, Report]:
    report = Report("compute")
    chosen = ComputeChoice.model_validate(choice)
    return settle_compute(chosen, facts, found, CALENDAR, report), report


def test_the_first_recommended_size_is_taken_and_the_plan_says_why() -> None:
    chosen, report = compute(card(A100, T4), region())

    assert chosen.size == A100
    assert "recommended by the model's card that is available" in report.findings[0].what
    assert "run.compute.size" in report.findings[0].change


def test_what_is_not_offered_retired_or_without_quota_is_passed_over_and_named() -> None:
    few = region(standardNCADSA100v4Family=24)  # a cluster of two nodes needs 48

    chosen, report = compute(card("Standard_ND_future", V100, A100, T4), few)
    assert chosen.size == T4
    (note, *_) = (one.what for one in report.findings)
    assert "Standard_ND_future (not offered in this region)" in note
    assert "retired on 2025-09-30" in note and "needs 48 vCPUs, the quota is 24" in note


def test_a_card_without_recommendations_has_its_allow_list() -> None:
    chosen, report = compute(card(allowed=(V100, A100)), region())

    assert chosen.size == A100 and "of the card's allow-list" in report.findings[0].what


@pytest.mark.parametrize("found", [card(), card(V100)])
def test_where_no_size_can_be_had_the_plan_is_refused(found: ModelCard) -> None:
    chosen, report = compute(found, region())

    assert chosen.size == ""
    assert report.findings[0].level == "error" and "run.compute.size" in report.findings[0].change


def test_an_explicit_size_and_an_existing_clusters_stay() -> None:
    there = ClusterFacts(
        name="mine", state="succeeded", size=T4, low_priority=False, max_nodes=1, idle_seconds=120
    )
    facts = region().model_copy(update={"clusters": {"mine": there}})

    assert compute(card(A100), facts, size=V100)[0].size == V100
    assert compute(card(A100), facts, name="mine")[0].size == T4


def test_low_priority_is_left_out_where_it_is_gone_and_a_tier_that_asks_for_it_stays() -> None:
    chosen, report = compute(card(A100), region())

    assert chosen.tier == "dedicated"
    assert any("2026-03-31" in one.what for one in report.findings)
    assert compute(card(A100), region(), tier="low_priority")[0].tier == "low_priority"


def test_serving_counts_what_azure_reserves() -> None:
    report = Report("endpoint")
    few = region(standardNCASv3_T4Family=7)  # one instance reserves two

    chosen = settle_endpoint(EndpointChoice(), few, card(T4, A100), CALENDAR, report)
    assert chosen.instance_type == A100
    assert "needs 8 vCPUs, the quota is 7" in report.findings[0].what
