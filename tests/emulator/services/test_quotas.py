"""Usages and quotas: named as Azure names them, counted from what is there, never exceeded."""

import asyncio
from contextlib import AsyncExitStack

import pytest

V3 = "Standard NCv3 Family Cluster Dedicated vCPUs"
V3_LOW = "Standard NCv3 Family Cluster LowPriority vCPUs"


@pytest.fixture
def small_quota(azure):
    """Room for two nodes of Standard_NC6s_v3."""
    azure.emulator.catalogue.quotas["standardNCSv3Family"] = 12
    return azure


def usages(azure):
    place = f"/subscriptions/{azure.config.identity.subscription}/providers"
    place += "/Microsoft.MachineLearningServices/locations/westeurope/usages"
    return azure.ask("GET", place).json()["value"]


def rows(azure, name):
    """Current value and limit of the rows with that name, by type."""
    return {
        row["type"].removeprefix("Microsoft.MachineLearningServices/"): (
            row["currentValue"],
            row["limit"],
        )
        for row in usages(azure)
        if row["name"]["value"] == name
    }


def used(azure):
    return rows(azure, V3)["vmFamily/usages"][0]


def hold(azure, stack, *computes):
    """Hold a node of each compute; those that had to wait are still waiting."""

    async def take(compute):
        await stack.enter_async_context(azure.emulator.nodes.hold(compute))

    tasks = [azure.loop.create_task(take(compute)) for compute in computes]
    azure.move(600)
    return tasks


def test_usages_bear_the_names_ids_and_units_of_the_description(azure):
    azure.finish(azure.cluster("gpu"))
    found = [row for row in usages(azure) if row["name"]["value"] == V3]
    subscription = f"/subscriptions/{azure.config.identity.subscription}"
    row = "usages/Standard_NCv3_Family_Cluster_Dedicated_vCPUs"

    assert [one["id"] for one in found] == [
        f"{subscription}/{row}",
        f"{azure.config.workspace_id}/{row}",
        f"{azure.config.workspace_id}/computes/gpu/{row}",
    ]
    assert {one["unit"] for one in found} == {"Count"}
    assert {one["name"]["localizedValue"] for one in found} == {V3}
    names = [one["name"]["value"] for one in usages(azure)]
    assert names[:2] == ["Clusters", "Total Cluster Dedicated Regional vCPUs"]
    assert "Total Cluster LowPriority Regional vCPUs" in names
    assert not [name for name in names if name.startswith("standard")]


def test_an_idle_region_uses_nothing_and_a_cluster_without_nodes_neither(azure):
    azure.finish(azure.cluster("gpu", scaleSettings={"maxNodeCount": 20}))

    assert used(azure) == 0
    assert {row["currentValue"] for row in usages(azure)} == {0, 1}  # one cluster


def test_usage_is_what_is_up_and_an_idle_node_counts_until_it_is_given_back(azure):
    scale = {"maxNodeCount": 2, "nodeIdleTimeBeforeScaleDown": "PT2M"}
    azure.finish(azure.cluster("gpu", scaleSettings=scale))
    stack = AsyncExitStack()
    hold(azure, stack, "gpu")
    busy = azure.ask("GET", "computes/gpu").json()["properties"]["properties"]
    during = rows(azure, V3)
    azure.run(stack.aclose())
    idle = azure.ask("GET", "computes/gpu").json()["properties"]["properties"]
    counted = used(azure)
    azure.move(121)

    assert during == {
        "vmFamily/usages": (6, 240),
        "workspaces/usages": (6, 240),
        "workspaces/computes/usages": (6, 240),
    }
    assert busy["nodeStateCounts"] == {"runningNodeCount": 1, "idleNodeCount": 0}
    assert idle["nodeStateCounts"] == {"runningNodeCount": 0, "idleNodeCount": 1}
    assert (counted, used(azure)) == (6, 0)


def test_a_second_clusters_node_waits_while_the_quota_is_used(small_quota):
    azure = small_quota
    for name in ("one", "two", "three"):
        azure.finish(azure.cluster(name))
    first, rest = AsyncExitStack(), AsyncExitStack()
    hold(azure, first, "one")
    second, third = hold(azure, rest, "two", "three")
    waiting = azure.ask("GET", "computes/three").json()["properties"]["properties"]
    before, full = third.done(), used(azure)
    azure.run(first.aclose())
    azure.move(1)
    still = third.done()
    azure.move(600)  # the idle node of the first is given back
    azure.move(600)

    assert second.done() and not before and full == 12
    assert waiting["allocationState"] == "Resizing"
    assert waiting["errors"][0]["error"]["code"] == "ClusterCoreQuotaReached"
    assert "Maximum allowed: 12, Current in use: 12" in waiting["errors"][0]["error"]["message"]
    assert not still and third.done()
    assert used(azure) == 12
    azure.run(rest.aclose())


def test_a_deleted_cluster_gives_its_quota_to_the_next(small_quota):
    azure = small_quota
    for name, most in (("one", 2), ("two", 1)):
        azure.finish(azure.cluster(name, scaleSettings={"maxNodeCount": most}))
    first, rest = AsyncExitStack(), AsyncExitStack()
    hold(azure, first, "one", "one")
    (waiting,) = hold(azure, rest, "two")
    before = waiting.done()
    azure.run(first.aclose())
    azure.drop_cluster("one")
    azure.move(300)

    assert not before and waiting.done()
    azure.run(rest.aclose())


def test_low_priority_nodes_count_by_themselves(azure):
    azure.finish(azure.cluster("cheap", vmPriority="LowPriority"))
    stack = AsyncExitStack()
    hold(azure, stack, "cheap")

    assert used(azure) == 0
    assert rows(azure, V3_LOW)["vmFamily/usages"] == (6, -1)
    total = rows(azure, "Total Cluster LowPriority Regional vCPUs")
    assert total == {"lowPriorityCores/usages": (6, 400)}
    azure.run(stack.aclose())


def test_a_deployment_reserves_a_fifth_more_than_its_instances(azure):
    azure.finish(azure.endpoint())
    azure.finish(azure.deploy(azure.model()))

    assert used(azure) == 12  # ceil(1.2 x 1) x 6


@pytest.mark.parametrize(
    ("size", "instances", "cores"),
    [
        ("Standard_DS3_v2", 10, 48),  # Microsoft's own example
        ("Standard_NC6s_v3", 5, 36),
        ("Standard_NC24ads_A100_v4", 3, 72),  # exempt
        ("Standard_ND40rs_v2", 2, 80),  # exempt
    ],
)
def test_some_families_have_no_reserve(azure, size, instances, cores):
    assert azure.emulator.quotas.reserve(size, instances)[1] == cores


def test_a_deployment_beyond_the_quota_is_refused_at_once(azure):
    azure.emulator.catalogue.quotas["standardNCSv3Family"] = 11
    azure.finish(azure.endpoint())

    refused = azure.deploy(azure.model())

    error = refused.json()["error"]
    assert (refused.status_code, error["code"]) == (400, "BadRequest")
    assert "Not enough quota available for Standard_NC6s_v3" in error["message"]
    assert "Current usage/limit: 0/11. Additional needed: 12" in error["message"]
    assert azure.ask("GET", "onlineEndpoints/chat-end/deployments").json()["value"] == []


def test_an_update_needs_only_what_it_adds(small_quota):
    azure = small_quota
    azure.finish(azure.endpoint())
    model = azure.model()
    azure.finish(azure.deploy(model))

    again = azure.deploy(model)

    assert again.status_code == 200
    assert used(azure) == 12


def test_a_failed_or_deleted_deployment_uses_nothing(azure):
    azure.finish(azure.endpoint())
    azure.emulator.faults.add({"kind": "deployment_fails", "message": "no"})
    model = azure.model()
    azure.finish(azure.deploy(model))
    failed = used(azure)
    azure.finish(azure.deploy(model, name="green"))
    there = used(azure)
    azure.finish(azure.ask("DELETE", "onlineEndpoints/chat-end"))

    assert (failed, there, used(azure)) == (0, 12, 0)


def test_many_nodes_never_exceed_the_quota(small_quota):
    azure = small_quota
    azure.finish(azure.cluster("gpu", scaleSettings={"maxNodeCount": 2}))
    azure.finish(azure.cluster("more", scaleSettings={"maxNodeCount": 2}))
    seen = []

    async def use(compute):
        async with azure.emulator.nodes.hold(compute):
            seen.append(azure.emulator.quotas.used("standardNCSv3Family", dedicated=True))
            await asyncio.sleep(0)

    tasks = [azure.loop.create_task(use(name)) for name in ("gpu", "more") * 5]
    for _ in range(40):
        azure.move(300)

    assert all(task.done() for task in tasks)
    assert max(seen) == 12
