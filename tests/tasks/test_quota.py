"""Quota by the real SDK: what the gate reads, and what the plan and the service make of it."""

from __future__ import annotations

import pytest

from finetuning.azure.settings import Settings
from finetuning.form.run import ComputeChoice
from finetuning.planning.facts import ComputeFacts
from finetuning.planning.findings import Report
from finetuning.planning.model_card import ModelCard
from finetuning.planning.quotas import quota_of
from finetuning.planning.rules.compute import check_compute, training_nodes
from tasks.compute import look_at_compute


def said(choice: ComputeChoice, facts: ComputeFacts) -> list[str]:
    report = Report("compute")
    check_compute(choice, facts, ModelCard(), training_nodes(choice, facts, 1), report)
    return [one.what for one in report.findings if one.level == "error"]


def test_every_size_of_the_region_finds_its_familys_quota(settings: Settings) -> None:
    facts = look_at_compute.fn(settings, ComputeChoice())

    families = {size.family for size in facts.sizes.values()}
    assert len(families) > 5
    assert {family for family in families if quota_of(facts.quotas, family) is None} == set()


def test_a_family_without_quota_is_refused_before_anything_is_created(settings: Settings) -> None:
    choice = ComputeChoice(name="none-yet", size="Standard_ND96amsr_A100_v4", tier="dedicated")

    found = said(choice, look_at_compute.fn(settings, choice))

    assert len(found) == 1
    assert "2 x Standard_ND96amsr_A100_v4 needs 192 vCPUs" in found[0]
    assert "0 vCPUs of standardNDAMSv4_A100Family" in found[0]


@pytest.mark.parametrize("tier", ["dedicated", "dedicated_then_low_priority"])
def test_a_family_with_quota_is_not(settings: Settings, tier: str) -> None:
    choice = ComputeChoice.model_validate({"name": "none-yet", "tier": tier})

    assert said(choice, look_at_compute.fn(settings, choice)) == []
