"""One table of rights: the gate's list, the roles and the guide follow from it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from finetuning.form.run import FineTune
from finetuning.planning.roles import ROLES, in_role, role_text, with_table
from finetuning.planning.rules.rights import RIGHTS, Scope, missing_rights, needed_rights

DOCS = Path(__file__).parent.parent.parent / "docs"
START = "Microsoft.MachineLearningServices"
#: The built-in role, as Microsoft's documentation lists it.
DATA_SCIENTIST = {
    "actions": [f"{START}/workspaces/*/{verb}" for verb in ("read", "action", "delete", "write")],
    "notActions": [
        f"{START}/workspaces/delete",
        f"{START}/workspaces/write",
        f"{START}/workspaces/computes/*/write",
        f"{START}/workspaces/computes/*/delete",
        f"{START}/workspaces/computes/listKeys/action",
        f"{START}/workspaces/listKeys/action",
    ],
}


def run_of(**compute: object) -> FineTune:
    return FineTune.model_validate({"compute": compute})


def lacks(entry: dict[str, list[str]], run: FineTune) -> list[str]:
    return [purpose for _, purpose in missing_rights([entry], needed_rights(run))]


@pytest.mark.parametrize("scope", ["workspace", "subscription"])
def test_the_roles_are_those_of_the_table(scope: Scope) -> None:
    """Otherwise run ``python -m finetuning.planning.roles``."""
    assert (DOCS / ROLES[scope][0]).read_text() == role_text(scope)


def test_the_guides_table_is_that_of_the_code() -> None:
    """Otherwise run ``python -m finetuning.planning.roles``."""
    guide = (DOCS / "azure.md").read_text()

    assert with_table(guide) == guide
    assert "subscription" in guide


def test_what_belongs_to_the_region_is_in_the_subscriptions_role_only() -> None:
    region = [right.action for right in RIGHTS if "/locations/" in right.action]

    assert f"{START}/locations/vmSizes/read" in region
    assert region == [right.action for right in in_role("subscription")]


def test_the_workspaces_role_is_enough_where_the_cluster_is_there() -> None:
    entry = json.loads((DOCS / "azure-role.json").read_text())
    given = {"actions": entry["Actions"], "notActions": entry["NotActions"]}

    assert lacks(given, run_of(may_create=False)) == []
    assert lacks(given, FineTune()) == ["create clusters", "delete a cluster that failed"]


def test_the_built_in_role_cannot_create_clusters_and_is_told_so() -> None:
    assert lacks(DATA_SCIENTIST, run_of(may_create=False)) == []
    assert lacks(DATA_SCIENTIST, FineTune()) == ["create clusters", "delete a cluster that failed"]


def test_a_serverless_run_needs_no_right_to_create_clusters() -> None:
    step = {"instance_type": "Standard_NC24ads_A100_v4"}
    steps = dict.fromkeys(("model_import", "preprocess", "finetune", "model_evaluation"), step)

    assert lacks(DATA_SCIENTIST, run_of(steps=steps)) == []


@pytest.mark.parametrize(
    ("denied", "purpose"),
    [
        ("workspaces/jobs/cancel/action", "cancel jobs"),
        ("workspaces/onlineEndpoints/listkeys/action", "ask an endpoint"),
        ("workspaces/onlineEndpoints/deployments/delete", "delete deployments"),
        ("workspaces/datastores/listSecrets/action", "write to the workspace's storage"),
        ("workspaces/onlineEndpoints/delete", "delete endpoints"),
    ],
)
def test_what_stops_spending_is_asked_for_before_it_begins(denied: str, purpose: str) -> None:
    entry = {"actions": ["*"], "notActions": [f"{START}/{denied}"]}

    assert lacks(entry, FineTune()) == [purpose]
