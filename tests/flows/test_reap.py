"""The reaper: removes what no living run owns, keeps what is kept, touches nothing of others."""

from __future__ import annotations

import os
import uuid
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import FlowFilter, FlowFilterName
from prefect.client.schemas.objects import State
from prefect.client.schemas.sorting import FlowRunSort
from prefect.settings import get_current_settings
from prefect.states import Crashed, Pending, Running

from finetuning.azure.client import open_client
from finetuning.azure.naming import run_key
from finetuning.azure.ownership import EXPIRES_TAG, RUN_TAG, Decision, ownership_tags
from finetuning.azure.settings import load_settings
from finetuning.errors import OrphansRemain
from flows.fine_tune import fine_tune
from flows.reap import main, reap
from tests.conftest import RunningEmulator, run_python

pytestmark = pytest.mark.slow

DAY = timedelta(days=1)


def endpoint(tags: dict[str, str]) -> str:
    """Make an endpoint with these tags, by the SDK; return its name."""
    from azure.ai.ml.entities import ManagedOnlineEndpoint

    name = f"reap-{uuid.uuid4().hex[:12]}"
    made = ManagedOnlineEndpoint(name=name, auth_mode="key", tags=tags)
    open_client(load_settings()).online_endpoints.begin_create_or_update(made).wait()
    return name


def tags_of(flow_run_id: str, chosen: str | None = None, **options: Any) -> dict[str, str]:
    key = run_key(flow_run_id, chosen)
    return ownership_tags("fine-tune", flow_run_id, key, datetime.now(UTC), DAY, **options)


def living_run(chosen: str | None = None) -> str:
    """A flow run of ours that says it runs."""
    return run_in(Running(), chosen)


def dead_run() -> str:
    """A flow run of ours that the server knows, and that has ended."""
    return run_in(Crashed())


def run_in(state: State[Any], chosen: str | None = None) -> str:
    with get_client(sync_client=True) as client:
        run = client.create_flow_run(fine_tune, parameters={"run": {"key": chosen}})
        client.set_flow_run_state(run.id, state, force=True)
    return str(run.id)


def there(stage: RunningEmulator) -> list[str]:
    return [one["name"] for one in stage.summary()["endpoints"]]


def decided(decisions: list[Decision], name: str) -> Decision:
    return next(one for one in decisions if one.found.name == name)


def test_what_a_dead_run_left_goes_and_what_others_made_stays(stage: RunningEmulator) -> None:
    dead = endpoint(tags_of(dead_run()))
    foreign = endpoint({"team": "somebody else"})
    half = endpoint({RUN_TAG: str(uuid.uuid4()), EXPIRES_TAG: "2020-01-01"})

    reap()

    assert dead not in there(stage)
    assert {foreign, half} <= set(there(stage))


def test_a_dry_run_says_what_would_go_and_removes_nothing(stage: RunningEmulator) -> None:
    dead = endpoint(tags_of(dead_run()))
    before = stage.requests()[-1]["index"]

    decisions = reap(dry_run=True)

    assert decided(decisions, dead).remove
    assert dead in there(stage)
    assert {one["method"] for one in stage.requests(after=before)} <= {"GET", "HEAD"}


def newest_reaping() -> str:
    """The name of the reaper's last run."""
    named = FlowFilter(name=FlowFilterName(any_=["reap"]))
    with get_client(sync_client=True) as client:
        (run,) = client.read_flow_runs(
            flow_filter=named, sort=FlowRunSort.EXPECTED_START_TIME_DESC, limit=1
        )
    return run.name


def test_a_run_is_named_after_what_it_did(stage: RunningEmulator) -> None:
    reap()
    endpoint(tags_of(dead_run()))
    kept = len(reap(dry_run=True)) - 1

    assert newest_reaping() == f"would remove 1 of {kept + 1}"
    reap()
    assert newest_reaping() == f"removed 1 of {kept + 1}"
    reap()
    assert newest_reaping() == "nothing to remove"


def test_what_a_living_run_owns_stays(stage: RunningEmulator) -> None:
    alive = endpoint(tags_of(living_run()))

    reap()

    assert alive in there(stage)


def test_what_a_living_run_adopted_by_its_key_stays(stage: RunningEmulator) -> None:
    chosen = uuid.uuid4().hex
    living_run(chosen)
    adopted = endpoint(tags_of(str(uuid.uuid4()), chosen))

    reap()

    assert adopted in there(stage)


def test_a_kept_endpoint_stays_until_its_expiry(stage: RunningEmulator) -> None:
    kept = endpoint(tags_of(str(uuid.uuid4()), keep=True))
    past = (datetime.now(UTC) - timedelta(minutes=1)).isoformat(timespec="seconds")
    expired = endpoint({**tags_of(str(uuid.uuid4()), keep=True), EXPIRES_TAG: past})

    reap()

    assert kept in there(stage)
    assert expired not in there(stage)


def claimed_run() -> UUID:
    """A run of a deployment that a worker has claimed and nobody begins."""
    with get_client(sync_client=True) as client:
        flow_id = client.create_flow(fine_tune)
        deployment = client.create_deployment(flow_id, f"claimed-{uuid.uuid4().hex[:8]}")
        run = client.create_flow_run_from_deployment(deployment)
        client.set_flow_run_state(run.id, Pending(), force=True)
    return run.id


def state_name(flow_run_id: UUID) -> str | None:
    with get_client(sync_client=True) as client:
        return client.read_flow_run(flow_run_id).state_name


def test_a_run_that_was_claimed_and_not_begun_is_offered_again(stage: RunningEmulator) -> None:
    claimed = claimed_run()

    reap()
    assert state_name(claimed) == "Pending"  # not long enough ago
    reap(pending_minutes=0, dry_run=True)
    assert state_name(claimed) == "Pending"
    reap(pending_minutes=0)
    assert state_name(claimed) == "AwaitingRetry"


def test_what_cannot_be_removed_is_said_and_tried_again(stage: RunningEmulator) -> None:
    dead = endpoint(tags_of(dead_run()))
    stage.add_fault(kind="status", method="DELETE", path=dead, status=403, times=0)

    with pytest.raises(OrphansRemain, match=dead):
        reap()

    assert newest_reaping().endswith(", 1 could not be removed")
    assert main([]) == 1
    stage.clear_faults()
    assert main([]) == 0
    assert dead not in there(stage)


@pytest.mark.parametrize(
    ("api", "said"),
    [("", "No Prefect server is named."), ("http://127.0.0.1:9/api", "does not answer")],
)
def test_without_a_server_the_command_says_so_and_asks_azure_nothing(
    api: str, said: str, azure_env: RunningEmulator
) -> None:
    before = azure_env.requests()[-1:]

    done = run_python({"PREFECT_API_URL": api}, "-m", "flows.reap", seconds=60)

    assert done.returncode == 1
    assert said in done.stderr and "Traceback" not in done.stderr
    assert azure_env.requests()[-1:] == before


def test_without_a_setting_the_command_says_which(
    prefect_server: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in list(os.environ):
        if name.startswith("AZURE"):
            monkeypatch.delenv(name)

    api = str(get_current_settings().api.url)
    done = run_python({"PREFECT_API_URL": api}, "-m", "flows.reap", seconds=60)

    assert done.returncode == 1
    assert done.stderr.splitlines()[-1].startswith("The workspace connection lacks AZURE_")
    assert "Traceback" not in done.stderr
