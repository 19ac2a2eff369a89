"""Every request of whole runs is an action of the table, and every action of it is requested."""

from __future__ import annotations

import re
import uuid
from typing import Any

import pytest

from finetuning.errors import DeploymentFailed, PlanRefused
from finetuning.planning.rules.rights import RIGHTS
from flows.fine_tune import fine_tune
from tests.conftest import RunningEmulator, environment, running_emulator
from tests.support.runs import small

pytestmark = pytest.mark.slow

SERVICE = "Microsoft.MachineLearningServices"
WORKSPACE = re.compile(rf"/providers/{SERVICE}/workspaces/[^/]+", re.IGNORECASE)
REGION = re.compile(rf"^/subscriptions/[^/]+/providers/{SERVICE}/locations/[^/]+/([^/]+)")
VERBS = {"GET": "read", "PUT": "write", "PATCH": "write", "DELETE": "delete"}
#: Paths that need no action: they tell where things are, or are the registry's, open to all.
OPEN = ("/metadata/", "/discovery/", "/registrymanagement/", "/mferp/")
#: The data planes' paths after the workspace, and the action that they take.
HISTORY = re.compile(r"^/(history|mlflow)/")
#: Actions that no request of these runs is for: for states that they do not come to.
NOT_SEEN = {
    "computes/delete", "jobs/cancel/action", "onlineEndpoints/deployments/delete",
    "mfeOperationResults/read",
    # the emulator answers a cluster's operation like an endpoint's
    "computeoperationsstatus/read",
}  # fmt: skip


def action_of(request: dict[str, Any]) -> str | None:
    """Return the action that Azure asks a role for, in lower case; None where it asks for none."""
    host, path, verb = request["host"], request["path"], VERBS.get(request["method"], "action")
    if not (host.startswith("management.") or ".api." in host) or path.startswith(OPEN):
        return None
    if HISTORY.match(path):
        of_experiment = path.split("/mlflow/")[-1].startswith("experiments/")
        below = "experiments" if of_experiment else "experiments/runs"
        return f"{SERVICE}/workspaces/{below}/read".lower()
    region = REGION.match(path)
    if region is not None:
        return f"{SERVICE}/locations/{region[1]}/read".lower()
    below = WORKSPACE.split(path)[-1].strip("/")
    if below.startswith("providers/"):
        return f"{below.removeprefix('providers/')}/{verb}".lower()
    types = [word for word in below.split("/")[::2] if word]
    return "/".join([SERVICE, "workspaces", *types, verb]).lower()


def asked(requests: list[dict[str, Any]]) -> set[str]:
    return {action for one in requests if (action := action_of(one)) is not None}


def test_what_runs_request_and_what_the_table_says_are_the_same(stage: RunningEmulator) -> None:
    cluster = {"name": f"rights-x{uuid.uuid4().hex[:7]}"}
    seen = stage.requests()
    before = seen[-1]["index"] if seen else 0
    fine_tune(small(uuid.uuid4().hex, compute=cluster, data={"refresh": True, "percentage": 3}))
    stage.add_fault(kind="deployment_fails", message="no capacity")
    with pytest.raises(DeploymentFailed):
        fine_tune(small(uuid.uuid4().hex, compute=cluster))

    requested = asked(stage.requests(after=before))

    table = {right.action.lower() for right in RIGHTS}
    assert requested - table == set()
    called = {right.action.lower() for right in RIGHTS if right.when != "Azure asks"}
    unseen = {
        action.removeprefix(f"{SERVICE}/workspaces/".lower()).removeprefix(
            f"{SERVICE}/locations/".lower()
        )
        for action in called - requested
    }
    assert unseen <= {one.lower() for one in NOT_SEEN}


def test_without_the_subscriptions_role_the_plan_names_what_is_refused(
    tmp_path_factory: pytest.TempPathFactory, prefect_server: None
) -> None:
    state = tmp_path_factory.mktemp("denied") / "state"
    denied = f"{SERVICE}/locations/vmSizes/read"
    with running_emulator(state, "--deny", denied) as strict, environment(strict.env):
        with pytest.raises(PlanRefused, match="locations/vmSizes/read"):
            fine_tune(small(uuid.uuid4().hex))

        assert strict.summary()["endpoints"] == []
