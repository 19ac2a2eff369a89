"""What facts mean: each rule of the gates, without a network."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date, timedelta
from typing import Any

import pytest

from emulator.catalogue import load_catalogue
from finetuning.conversations.survey import Survey
from finetuning.form.run import ComputeChoice, EndpointChoice, FineTune, ModelChoice
from finetuning.planning.facts import (
    ClusterFacts,
    ComputeFacts,
    EndpointFacts,
    NodeSize,
    Quota,
    SplitFacts,
)
from finetuning.planning.findings import Finding, Report, errors
from finetuning.planning.lifecycle import LIFECYCLE, Calendar
from finetuning.planning.model_card import ModelCard, read_card
from finetuning.planning.plan import Serving
from finetuning.planning.prices import Nodes, Work, estimate, load_prices
from finetuning.planning.rules.compute import check_compute, training_nodes
from finetuning.planning.rules.data import check_data
from finetuning.planning.rules.endpoint import check_endpoint
from finetuning.planning.rules.model import check_model_card
from finetuning.planning.rules.money import check_money
from finetuning.planning.rules.rights import missing_rights, needed_rights
from finetuning.recipes import Splits, find_recipe

TODAY = date(2026, 8, 1)
RECIPE = find_recipe("chat_completion")
SPLITS = Splits(train="train", test="test", asked="asked")
CATALOGUE = load_catalogue(TODAY)
AZUREML = CATALOGUE.registry("azureml")
CARD = read_card(AZUREML.models[0]["properties"])
CALENDAR = Calendar(TODAY, LIFECYCLE.load())
SIZES = {
    one["name"].lower(): NodeSize(
        name=one["name"],
        family=one["family"],
        vcpus=one["vCPUs"],
        gpus=one["gpus"],
        memory_gb=one["memoryGB"],
        disk_gb=one["maxResourceVolumeMB"] / 1024,
    )
    for one in CATALOGUE.vm_sizes
}
QUOTAS = {family.lower(): Quota(used=0, limit=limit) for family, limit in CATALOGUE.quotas.items()}


def region(**changes: Any) -> ComputeFacts:
    return ComputeFacts.model_validate({"sizes": SIZES, "quotas": QUOTAS, **changes})


def cluster(**changes: Any) -> dict[str, ClusterFacts]:
    facts = {
        "name": "gpu-cluster-big",
        "state": "succeeded",
        "size": "Standard_ND40rs_v2",
        "low_priority": False,
        "max_nodes": 2,
        "idle_seconds": 120,
        **changes,
    }
    return {"gpu-cluster-big": ClusterFacts.model_validate(facts)}


def said(judge: Callable[[Report], None], level: str = "error") -> list[str]:
    report = Report("compute")
    judge(report)
    return [f"{one.what} {one.change}" for one in report.findings if one.level == level]


def on_compute(
    choice: dict[str, Any] | None = None,
    facts: ComputeFacts | None = None,
    card: ModelCard = CARD,
    nodes: int = 1,
    level: str = "error",
) -> list[str]:
    chosen = ComputeChoice.model_validate(
        {"name": "gpu-cluster-big", "size": "Standard_ND40rs_v2", **(choice or {})}
    )
    seen = facts or region()
    training = training_nodes(chosen, seen, nodes)
    return said(lambda report: check_compute(chosen, seen, card, training, report), level)


def test_the_tutorials_cluster_will_do() -> None:
    assert on_compute() == []
    assert on_compute(level="warning") == []


def test_a_size_outside_the_allow_list_is_refused_with_those_inside() -> None:
    found = on_compute({"size": "Standard_NC24s_v3"})

    assert "Standard_NC24s_v3" in found[0] and "Standard_NC24ads_A100_v4" in found[0]
    assert "run.compute.size" in found[0]


def test_the_allow_list_knows_no_case() -> None:
    assert on_compute({"size": "standard_nd40RS_v2"}) == []


@pytest.mark.parametrize("size", ["Standard_NC6", "standard_nc24r"])
def test_without_an_allow_list_k80_sizes_are_refused(size: str) -> None:
    found = on_compute({"size": size}, card=ModelCard())

    assert "K80" in found[0] and size in found[0]


def test_a_size_that_the_region_does_not_offer_is_refused_with_those_it_does() -> None:
    found = on_compute({"size": "Standard_NC999"}, card=ModelCard())

    assert "Standard_NC999 is not offered" in found[0] and "Standard_ND40rs_v2" in found[0]


def test_a_size_without_a_gpu_is_refused() -> None:
    assert "has no GPU" in on_compute({"size": "Standard_D12_v2"}, card=ModelCard())[0]


def test_a_size_below_the_models_minimum_is_refused() -> None:
    card = read_card({"properties": {"finetune-min-sku-spec": "24|2|440|64"}})

    found = on_compute({"size": "Standard_NC24ads_A100_v4"}, card=card)

    assert len(found) == 2
    assert "has 1 GPUs" in found[0] and "needs 2" in found[0]
    assert "has 220 GB of memory" in found[1]


def test_a_cluster_that_failed_is_refused_with_azures_reason() -> None:
    facts = region(clusters=cluster(state="failed", reason="no capacity"))

    found = on_compute(facts=facts)

    assert "'failed': no capacity" in found[0] and "gpu-cluster-big" in found[0]


def test_an_existing_clusters_own_size_counts() -> None:
    facts = region(clusters=cluster(size="Standard_NC24s_v3"))

    assert "Standard_NC24s_v3 is not allowed" in on_compute(facts=facts)[0]
    assert (
        "already exists with size Standard_NC24s_v3" in on_compute(facts=facts, level="warning")[0]
    )


def test_more_nodes_than_the_cluster_may_have_are_refused() -> None:
    assert "num_nodes_finetune asks for 3" in on_compute(nodes=3)[0]
    assert "at most 2" in on_compute(facts=region(clusters=cluster()), nodes=3)[0]


def test_low_priority_nodes_are_warned_of() -> None:
    facts = region(clusters=cluster(low_priority=True))

    assert "pre-empted" in on_compute(facts=facts, level="warning")[0]
    assert "pre-empted" in on_compute({"tier": "low_priority"}, level="warning")[0]


def test_a_long_idle_time_is_warned_of() -> None:
    facts = region(clusters=cluster(idle_seconds=3600))

    assert "60 minutes" in on_compute(facts=facts, level="warning")[0]


def test_a_missing_cluster_that_may_not_be_created_is_refused() -> None:
    found = on_compute({"may_create": False})

    assert "may not create it" in found[0] and "run.compute.may_create" in found[0]


def test_no_quota_for_dedicated_nodes_is_a_warning_where_low_priority_is_allowed() -> None:
    a100 = {"size": "Standard_ND96amsr_A100_v4"}

    assert on_compute(a100) == []
    assert "low-priority nodes" in on_compute(a100, level="warning")[0]


def test_no_quota_at_all_is_refused_with_what_is_needed() -> None:
    found = on_compute({"size": "Standard_ND96amsr_A100_v4", "tier": "dedicated"})

    assert "needs 192 vCPUs" in found[0] and "dedicated: 0 vCPUs" in found[0]


def test_quota_that_others_use_is_warned_of() -> None:
    quotas = {**QUOTAS, "standardndsv2family": Quota(used=400, limit=400)}

    assert "400 of 400" in on_compute(facts=region(quotas=quotas), level="warning")[0]


def test_a_steps_cluster_that_is_missing_is_refused() -> None:
    found = on_compute({"steps": {"preprocess": {"cluster": "cpu-pool"}}})

    assert "Cluster 'cpu-pool' of run.compute.steps.preprocess" in found[0]


def test_a_serverless_steps_size_is_looked_up() -> None:
    step = {"cluster": "serverless", "instance_type": "Standard_D999"}

    found = on_compute({"steps": {"model_import": step}})

    assert "Standard_D999 is not offered" in found[0]
    assert "run.compute.steps.model_import" in found[0]


def test_a_serverless_fine_tune_is_held_against_the_card() -> None:
    step = {"cluster": "serverless", "instance_type": "Standard_NC24s_v3"}

    found = on_compute({"steps": {"finetune": step}})

    assert "Standard_NC24s_v3 is not allowed" in found[0]


def model_findings(name: str, version: str, **choice: Any) -> list[Finding]:
    card = next(one for one in AZUREML.models if (one["name"], one["version"]) == (name, version))
    report = Report("model")
    chosen = ModelChoice(name=name, **choice)
    check_model_card(chosen, version, read_card(card["properties"]), RECIPE, CALENDAR, report)
    return report.findings


def levels(findings: list[Finding]) -> list[str]:
    return [one.level for one in findings]


def test_a_live_model_brings_a_note_of_its_licence_only() -> None:
    found = model_findings("Phi-4", "8")

    assert levels(found) == ["note"] and "mit" in found[0].what


def test_an_archived_and_retired_model_is_refused() -> None:
    found = model_findings("Phi-3-mini-4k-instruct", "15")

    assert levels(found) == ["error", "error", "error", "note"]
    assert "2025-08-30" in found[1].what and "Phi-4" in found[1].change
    assert "run.model.allow_retired" in found[1].change


def test_a_retired_model_is_allowed_where_the_user_says_so() -> None:
    found = model_findings("Phi-3-mini-4k-instruct", "15", allow_retired=True)

    assert "error" not in levels(found) and levels(found).count("warning") == 3


def test_a_retirement_within_90_days_is_warned_of() -> None:
    found = model_findings("community-retiring-model", "1")

    assert levels(found) == ["warning", "note"]
    assert "in 60 days" in found[0].what


def test_a_retirement_90_days_away_is_warned_of_and_91_is_not() -> None:
    for days, expected in ((90, ["warning", "note"]), (91, ["note"]), (0, ["error", "note"])):
        card = ModelCard(finetune_tasks=("chat-completion",), finetune_retires=TODAY
                         + timedelta(days=days))  # fmt: skip
        report = Report("model")

        check_model_card(ModelChoice(), "1", card, RECIPE, CALENDAR, report)

        assert levels(report.findings) == expected


def test_a_model_for_other_tasks_is_refused_with_its_tasks() -> None:
    found = model_findings("databricks-dolly-v2-12b", "20")

    assert found[0].level == "error" and "text-generation" in found[0].what


def on_endpoint(
    choice: dict[str, Any] | None = None,
    taken: EndpointFacts | None = None,
    facts: ComputeFacts | None = None,
    level: str = "error",
) -> list[str]:
    chosen = EndpointChoice.model_validate({"instance_type": "Standard_NC6s_v3", **(choice or {})})
    nodes = Nodes(size=chosen.instance_type, count=chosen.instance_count)
    serving = Serving(endpoint="mine", choice=chosen, nodes=nodes)
    return said(
        lambda report: check_endpoint(
            serving, "key", taken or EndpointFacts(), facts or region(), CARD, report
        ),
        level,
    )


def test_the_tutorials_endpoint_will_do() -> None:
    assert on_endpoint() == []


def test_an_instance_type_outside_the_allow_list_is_refused_not_printed() -> None:
    found = on_endpoint({"instance_type": "Standard_D4s_v3"})

    assert "Standard_D4s_v3 is not allowed" in found[0]
    assert "run.endpoint.instance_type" in found[0]


def test_somebody_elses_endpoint_is_left_alone() -> None:
    found = on_endpoint(taken=EndpointFacts(taken=True, run_key="other"))

    assert "'mine' already exists and belongs to run other" in found[0]


def test_the_runs_own_endpoint_is_adopted() -> None:
    taken = EndpointFacts(taken=True, run_key="key")

    assert on_endpoint(taken=taken) == []
    assert "used again" in on_endpoint(taken=taken, level="note")[0]


def test_an_endpoint_beyond_the_quota_is_refused() -> None:
    quotas = {**QUOTAS, "standardncsv3family": Quota(used=0, limit=6)}

    found = on_endpoint({"instance_count": 2}, facts=region(quotas=quotas))

    assert "need 18 vCPUs" in found[0] and "is 6" in found[0]


def test_a_kept_endpoint_is_warned_of() -> None:
    assert "You pay for it" in on_endpoint({"keep": True}, level="warning")[0]


def split(name: str, rows: int, **seen: Any) -> SplitFacts:
    survey = Survey.model_validate({"rows": rows, "tokens": rows * 100, **seen})
    return SplitFacts(name=name, rows=rows, survey=survey)


def on_data(*splits: SplitFacts, step: int = 8, level: str = "error") -> list[str]:
    by_name = {one.name: one for one in splits}
    return said(lambda report: check_data(by_name, SPLITS, step, 0.01, report), level)


def test_too_few_rows_for_one_step_are_refused() -> None:
    found = on_data(split("train", 7))

    assert "7 rows" in found[0] and "needs 8" in found[0]


def test_a_split_without_rows_is_refused() -> None:
    assert "test has no rows" in on_data(split("train", 9), split("test", 0))[0]


def test_many_malformed_rows_are_refused_and_few_are_warned_of() -> None:
    first = ["row 3: field 'prompt' is not text"]

    many = on_data(split("train", 1000, malformed=11, malformed_first=first))
    few = on_data(split("train", 1000, malformed=10, malformed_first=first), level="warning")

    assert "11 of 1000" in many[0] and "row 3: field 'prompt'" in many[0]
    assert "10 of 1000" in few[0]


@pytest.mark.parametrize(
    ("count", "word"),
    [
        ("empty", "empty"),
        ("not_alternating", "alternate"),
        ("over_long", "max_seq_length"),
        ("secrets", "password or key"),
    ],
)
def test_odd_rows_are_counted_and_warned_of(count: str, word: str) -> None:
    found = on_data(split("train", 100, **{count: 5}), level="warning")

    assert "5 of 100" in found[0] and word in found[0]


def test_conversations_in_both_train_and_test_are_counted() -> None:
    train = split("train", 10, fingerprints=frozenset("abc"))
    test = split("test", 10, fingerprints=frozenset("bcd"))

    assert "2 conversations are in both train and test" in on_data(train, test, level="warning")[0]


def test_a_budget_below_the_estimate_is_refused() -> None:
    work = Work(train_tokens=10**9, train_rows=10**6)
    nodes = Nodes(size="Standard_ND40rs_v2")
    cost = estimate(load_prices(), "Phi-3-mini", work, nodes, Nodes(size="Standard_NC6s_v3"))

    assert "above its budget of 1.00" in said(lambda report: check_money(cost, 1.0, report))[0]
    default = said(lambda report: check_money(cost, 1.0, report, by_default=True))
    assert "above its default budget of 1.00" in default[0]
    assert said(lambda report: check_money(cost, cost.total + 1, report)) == []
    assert said(lambda report: check_money(cost, None, report)) == []


def test_a_budget_that_cannot_be_held_is_refused() -> None:
    work = Work(train_tokens=1, train_rows=1)
    unknown = Nodes(size="Standard_X1")
    cost = estimate(load_prices(), "Phi-3-mini", work, unknown, unknown)

    assert "cannot be enforced" in said(lambda report: check_money(cost, 5.0, report))[0]
    assert said(lambda report: check_money(cost, None, report)) == []


def test_a_default_budget_that_cannot_be_held_is_a_warning() -> None:
    work, unknown = Work(train_tokens=1, train_rows=1), Nodes(size="Standard_X1")
    cost = estimate(load_prices(), "Phi-3-mini", work, unknown, unknown)
    report = Report("money")

    check_money(cost, 200.0, report, by_default=True)

    assert errors(report.findings) == []
    assert "cannot be enforced" in report.findings[0].what


def test_rights_are_held_against_actions_and_not_actions() -> None:
    needed = needed_rights(FineTune())
    everything = [{"actions": ["*"], "notActions": []}]
    no_jobs = [{"actions": ["*"], "notActions": ["Microsoft.MachineLearningServices/*/jobs/write"]}]

    assert missing_rights(everything, needed) == []
    assert [purpose for _, purpose in missing_rights(no_jobs, needed)] == ["submit jobs"]
    assert missing_rights([*no_jobs, *everything], needed) == []
    assert len(missing_rights([], needed)) == len(needed)
