"""Hosts, scopes, rights, the workspace itself, what its region offers; and what is not there."""

import pytest

from emulator.protocol.guard import action
from tests.emulator.support.in_process import InProcess


def code(answer):
    return answer.status_code, answer.json()["error"]["code"]


def test_the_workspace_says_where_its_services_are(azure):
    found = azure.ask("GET", "").json()
    mine = found["properties"]
    services = azure.at(azure.config.api_host, "GET", mine["discoveryUrl"]).json()

    assert found["location"] == "westeurope"
    assert services["api"] == f"https://{azure.config.api_host}"
    assert mine["mlFlowTrackingUri"].startswith(f"azureml://{azure.config.api_host}/mlflow/")
    assert mine["storageAccount"].endswith(f"/storageAccounts/{azure.config.account}")


def test_arm_ignores_the_case_of_paths(azure):
    path = azure.config.workspace_id.replace("/resourceGroups/", "/RESOURCEGROUPS/").upper()

    assert azure.ask("GET", path).json()["id"] == azure.config.workspace_id


@pytest.mark.parametrize(
    ("part", "error"),
    [
        ("subscription", "SubscriptionNotFound"),
        ("resource_group", "ResourceGroupNotFound"),
        ("workspace", "ResourceNotFound"),
    ],
)
def test_another_scope_is_not_found_in_arms_words(azure, part, error):
    path = azure.config.workspace_id.replace(getattr(azure.config.identity, part), "elsewhere")

    assert code(azure.ask("GET", path)) == (404, error)


def test_the_registrys_group_holds_no_workspace(azure):
    mine = azure.config.identity
    path = azure.config.workspace_id.replace(mine.resource_group, mine.registry_group)

    assert code(azure.ask("GET", path)) == (404, "ResourceNotFound")


def test_what_is_not_emulated_is_said_with_method_and_path(azure):
    answer = azure.ask("PATCH", "schedules/nightly", json={})

    assert code(answer) == (501, "NotEmulated")
    assert "PATCH" in answer.json()["error"]["message"]
    assert "schedules/nightly" in answer.json()["error"]["message"]


def test_a_known_path_with_another_method_is_not_emulated_either(azure):
    assert code(azure.ask("PATCH", "computes/gpu", json={})) == (501, "NotEmulated")


def test_hosts_of_others_are_refused(azure):
    assert azure.at("management.azure.com", "GET", "/").status_code == 421
    assert azure.at(f"vault.{azure.config.suffix}", "GET", "/").status_code == 501
    rebound = azure.plain("GET", "/_emulator/summary", headers={"Host": "attacker.example"})
    assert rebound.status_code == 421


@pytest.fixture
def limited(tmp_path):
    """An emulator whose caller may do nothing with jobs."""
    denied = ("Microsoft.MachineLearningServices/workspaces/jobs/*",)
    found = InProcess(tmp_path / "limited", denied_actions=denied)
    yield found
    found.close()


def test_the_caller_may_do_everything_unless_told_otherwise(azure, limited):
    path = "providers/Microsoft.Authorization/permissions"
    (free,) = azure.ask("GET", path).json()["value"]
    (bound,) = limited.ask("GET", path).json()["value"]

    assert free["actions"] == ["*"] and free["notActions"] == []
    assert bound["notActions"] == list(limited.config.denied_actions)


def test_a_right_that_was_taken_is_refused_and_the_others_are_not(limited):
    answer = limited.ask("PUT", "jobs/one", json={})

    assert code(answer) == (403, "AuthorizationFailed")
    assert "workspaces/jobs/write" in answer.json()["error"]["message"]
    assert limited.ask("GET", "computes").status_code == 200


def test_actions_have_the_names_that_roles_use(azure):
    scope = azure.config.workspace_id
    start = "Microsoft.MachineLearningServices/workspaces"

    assert action("GET", scope) == f"{start}/read"
    assert action("PUT", f"{scope}/jobs/x") == f"{start}/jobs/write"
    assert (
        action("DELETE", f"{scope}/onlineEndpoints/e/deployments/d")
        == f"{start}/onlineEndpoints/deployments/delete"
    )
    assert (
        action("POST", f"{scope}/datastores/d/listSecrets")
        == f"{start}/datastores/listSecrets/action"
    )
    assert action("GET", "/metadata/endpoints") is None


def test_sizes_quotas_and_usages_belong_together(azure):
    place = f"/subscriptions/{azure.config.identity.subscription}/providers"
    place += "/Microsoft.MachineLearningServices/locations/westeurope"
    sizes = azure.ask("GET", place + "/vmSizes").json()["value"]
    limits = {
        row["name"]["value"]: row["limit"]
        for row in azure.ask("GET", place + "/quotas").json()["value"]
    }
    azure.finish(azure.cluster("gpu", scaleSettings={"maxNodeCount": 2}))
    used = {
        row["name"]["value"]: row["currentValue"]
        for row in azure.ask("GET", "usages").json()["value"]
    }
    small = next(size for size in sizes if size["name"] == "Standard_NC6s_v3")

    assert small["gpus"] == 1
    assert used[small["family"]] == 2 * small["vCPUs"] == used["total"]
    assert limits[small["family"]] >= 2 * small["vCPUs"]
    assert azure.ask("GET", place + "/usages").json() == azure.ask("GET", "usages").json()
