"""Which steps need the run's own cluster, and what the rules say where none does."""

from __future__ import annotations

from typing import Any

import pytest

from finetuning.form.run import ComputeChoice
from finetuning.planning.facts import ClusterFacts, ComputeFacts, NodeSize
from finetuning.planning.findings import Report
from finetuning.planning.model_card import ModelCard
from finetuning.planning.rules.compute import check_compute, training_nodes
from tasks.compute import clusters_of

GPU = {"instance_type": "Standard_NC24ads_A100_v4"}
NAME = ComputeChoice().name
OWN = {"cluster": NAME}
OTHER = {"cluster": "other"}
ALL = ("model_import", "preprocess", "finetune", "model_evaluation")
SIZE = NodeSize(
    name=GPU["instance_type"], family="standardNCADSA100v4Family",
    vcpus=24, gpus=1, memory_gb=220, disk_gb=64,
)  # fmt: skip


def choice(**steps: Any) -> ComputeChoice:
    return ComputeChoice.model_validate({"steps": steps, "may_create": False})


def said(chosen: ComputeChoice, **clusters: ClusterFacts) -> list[str]:
    facts, report = (
        ComputeFacts(sizes={SIZE.name.lower(): SIZE}, clusters=clusters),
        Report("compute"),
    )
    check_compute(chosen, facts, ModelCard(), training_nodes(chosen, facts, 1), report)
    return [one.what for one in report.findings if one.level == "error"]


@pytest.mark.parametrize(
    ("steps", "uses"),
    [
        ({}, True),
        (dict.fromkeys(ALL, GPU), False),
        (dict.fromkeys(ALL[:3], GPU), False),  # the evaluation follows; no step of it runs
        ({**dict.fromkeys(ALL, GPU), "model_evaluation": OWN}, True),
        ({**dict.fromkeys(ALL, GPU), "preprocess": OWN}, True),
        ({**dict.fromkeys(ALL, GPU), "preprocess": OTHER}, False),
        (dict.fromkeys(ALL[:2], GPU), True),
        ({"finetune": GPU}, True),
    ],
)
def test_a_cluster_is_needed_where_a_step_runs_on_it(steps: dict[str, Any], uses: bool) -> None:
    chosen = choice(**steps)

    assert chosen.uses_cluster == uses
    assert (NAME in clusters_of(chosen)) == uses
    missing = any(f"'{NAME}' is not in the workspace" in one for one in said(chosen))
    assert missing == uses


def test_a_cluster_of_that_name_that_no_step_uses_is_not_judged() -> None:
    failed = ClusterFacts(
        name=NAME, state="failed", size="Standard_NC6", low_priority=False,
        max_nodes=1, idle_seconds=120,
    )  # fmt: skip

    assert said(choice(**dict.fromkeys(ALL, GPU)), **{NAME: failed}) == []
