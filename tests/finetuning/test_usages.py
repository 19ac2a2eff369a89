"""Usages as Azure lists them: rows in words, matched to the families of sizes."""

from __future__ import annotations

from typing import Any

import pytest

from finetuning.form.run import ComputeChoice, EndpointChoice
from finetuning.planning.facts import ComputeFacts, EndpointFacts, NodeSize, Quota
from finetuning.planning.findings import Report
from finetuning.planning.model_card import ModelCard
from finetuning.planning.plan import Serving
from finetuning.planning.prices import Nodes
from finetuning.planning.quotas import family_key, quota_of, read_usages, reserved_instances
from finetuning.planning.rules.compute import check_compute, training_nodes
from finetuning.planning.rules.endpoint import check_endpoint

SUBSCRIPTION = "/subscriptions/s"
WORKSPACE = f"{SUBSCRIPTION}/resourceGroups/rg/providers/P/workspaces/demo"
NDV2 = "Standard NDv2 Family Cluster Dedicated vCPUs"
ND40 = NodeSize(
    name="Standard_ND40rs_v2", family="standardNDSv2Family",
    vcpus=40, gpus=8, memory_gb=672, disk_gb=2948,
)  # fmt: skip
V100 = NodeSize(
    name="Standard_NC6s_v3", family="standardNCSv3Family",
    vcpus=6, gpus=1, memory_gb=112, disk_gb=736,
)  # fmt: skip


def row(name: str, limit: int, used: int = 0, scope: str = SUBSCRIPTION) -> dict[str, Any]:
    return {
        "id": f"{scope}/usages/{name.replace(' ', '_')}",
        "currentValue": used,
        "limit": limit,
        "name": {"value": name, "localizedValue": name},
        "unit": "Count",
    }


def facts(*rows: dict[str, Any]) -> ComputeFacts:
    sizes = {size.name.lower(): size for size in (ND40, V100)}
    return ComputeFacts(sizes=sizes, quotas=read_usages(rows))


def on_compute(found: ComputeFacts, level: str = "error", **choice: Any) -> list[str]:
    chosen, report = (
        ComputeChoice.model_validate({"tier": "dedicated", "size": "Standard_ND40rs_v2", **choice}),
        Report("compute"),
    )
    check_compute(chosen, found, ModelCard(), training_nodes(chosen, found, 1), report)
    return [f"{one.what} {one.change}" for one in report.findings if one.level == level]


def on_endpoint(found: ComputeFacts, level: str = "error", **choice: Any) -> list[str]:
    given = {"instance_type": "Standard_NC6s_v3", **choice}
    chosen, report = EndpointChoice.model_validate(given), Report("endpoint")
    nodes = Nodes(size=chosen.instance_type, count=chosen.instance_count)
    serving = Serving(endpoint="e", choice=chosen, nodes=nodes)
    check_endpoint(serving, "key", EndpointFacts(), found, ModelCard(), report)
    return [f"{one.what} {one.change}" for one in report.findings if one.level == level]


@pytest.mark.parametrize(
    ("family", "listed"),
    [
        ("standardNDSv2Family", "Standard NDv2 Family Cluster Dedicated vCPUs"),
        ("standardNDSFamily", "Standard ND Family Cluster Dedicated vCPUs"),
        ("standardNCSv3Family", "Standard NCv3 Family Cluster Dedicated vCPUs"),
        ("standardNCSv3Family", "Standard NCSv3 Family Cluster Dedicated vCPUs"),
        ("standardDSv2Family", "Standard DSv2 Family Cluster Dedicated vCPUs"),
        ("standardNCADSA100v4Family", "Standard NCADSA100v4 Family Cluster Dedicated vCPUs"),
        ("Standard NCASv3_T4 Family", "Standard NCASv3_T4 Family Cluster Dedicated vCPUs"),
        ("standard NDASv4_A100 Family", "Standard NDASv4_A100 Family Cluster Dedicated vCPUs"),
        ("standardNDAMSv4_A100Family", "standardNDAMSv4_A100Family"),
    ],
)
def test_a_family_is_found_under_the_name_that_azure_lists(family: str, listed: str) -> None:
    quotas = read_usages([row("Standard D Family Cluster Dedicated vCPUs", 1), row(listed, 48)])

    assert quota_of(quotas, family) == Quota(used=0, limit=48)


@pytest.mark.parametrize(
    ("family", "other"),
    [
        ("standardDSv2Family", "Standard Dv2 Family Cluster Dedicated vCPUs"),
        ("standardNCSv3Family", "Standard NCv2 Family Cluster Dedicated vCPUs"),
        ("standardNCFamily", "Standard NC Family Cluster LowPriority vCPUs"),
        ("", "Total Cluster Dedicated Regional vCPUs"),
    ],
)
def test_another_family_is_not_taken_for_it(family: str, other: str) -> None:
    assert quota_of(read_usages([row(other, 48)]), family) is None


def test_the_subscriptions_row_counts_not_those_of_workspaces_and_clusters() -> None:
    rows = [
        row(NDV2, 7, used=7, scope=f"{WORKSPACE}/computes/c"),
        row(NDV2, 400, used=40),
        row(NDV2, 9, scope=WORKSPACE),
    ]

    assert quota_of(read_usages(rows), "standardNDSv2Family") == Quota(used=40, limit=400)


def test_with_quota_0_the_cluster_is_refused() -> None:
    found = on_compute(facts(row(NDV2, 0)))

    assert len(found) == 1
    assert "2 x Standard_ND40rs_v2 needs 80 vCPUs" in found[0]
    assert "0 vCPUs of standardNDSv2Family" in found[0]


def test_the_regions_total_counts_too() -> None:
    total = row("Total Cluster Dedicated Regional vCPUs", 24, scope=SUBSCRIPTION)

    assert "24 vCPUs of all families" in on_compute(facts(row(NDV2, 400), total))[0]


def test_low_priority_has_one_quota_for_all_families() -> None:
    low = row("Total Cluster LowPriority Regional vCPUs", 10)
    own = row("Standard NDv2 Family Cluster LowPriority vCPUs", -1)

    assert "low priority: 10 vCPUs" in on_compute(facts(low, own), tier="low_priority")[0]


@pytest.mark.parametrize("judge", [on_compute, on_endpoint])
def test_a_family_that_azure_does_not_list_is_a_note(judge: Any) -> None:
    found = facts(row("Standard D Family Cluster Dedicated vCPUs", 48))

    assert judge(found) == []
    assert any("no quota for" in one for one in judge(found, level="note"))


@pytest.mark.parametrize(
    ("family", "count", "reserved"),
    [
        ("standardDSv2Family", 10, 12),  # Microsoft's example: 48 cores of 4-core nodes
        ("standardDSv2Family", 1, 2),
        ("standardNCSv3Family", 5, 6),
        ("standardNCADSA100v4Family", 5, 5),
        ("standard NDASv4_A100 Family", 3, 3),
        ("standardNDSv2Family", 2, 2),
    ],
)
def test_a_deployment_reserves_a_fifth_more_but_for_exempt_families(
    family: str, count: int, reserved: int
) -> None:
    assert reserved_instances(family, count) == reserved


def test_the_reserve_decides_and_is_told_with_its_arithmetic() -> None:
    v3 = "Standard NCv3 Family Cluster Dedicated vCPUs"

    found = on_endpoint(facts(row(v3, 11)))

    assert "1 x Standard_NC6s_v3 need 12 vCPUs" in found[0]
    assert "ceil(1.2 x 1) = 2 instances x 6" in found[0] and "is 11" in found[0]
    assert on_endpoint(facts(row(v3, 12))) == []
    assert "6 of 12" in on_endpoint(facts(row(v3, 12, used=6)), level="warning")[0]


def test_an_exempt_size_needs_no_more_than_its_instances() -> None:
    choice = {"instance_type": "Standard_ND40rs_v2", "instance_count": 2}

    assert on_endpoint(facts(row(NDV2, 80)), **choice) == []
    found = on_endpoint(facts(row(NDV2, 79)), **choice)
    assert "need 80 vCPUs;" in found[0]


def test_a_name_in_words_and_an_id_share_their_key() -> None:
    assert family_key("Standard NCADSA100v4 Family Cluster Dedicated vCPUs") == "ncadsa100v4"
