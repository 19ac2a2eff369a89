"""What a run begins with: a name that it keeps, and tags that say whose and until when."""

from __future__ import annotations

import uuid
from datetime import UTC, datetime, timedelta
from typing import Any

from prefect import flow
from prefect.client.orchestration import get_client
from prefect.flow_engine import run_flow
from prefect.states import AwaitingRetry

from finetuning.azure import ownership
from finetuning.azure.naming import run_key
from finetuning.form.context import RunContext
from finetuning.form.run import FineTune
from flows.lifecycle.context import FINE_TUNE, named_once, run_context
from tests.conftest import RunningEmulator


@flow(flow_run_name=lambda: named_once("model · data"))
def named() -> None:
    """A run that only has a name."""


def test_a_run_keeps_the_name_that_it_first_began_with(prefect_server: None) -> None:
    with get_client(sync_client=True) as client:
        run = client.create_flow_run(named)
        run_flow(named, flow_run=run)
        first = client.read_flow_run(run.id)
        client.update_flow_run(run.id, name="of the first evening")
        client.set_flow_run_state(run.id, AwaitingRetry(), force=True)
        run_flow(named, flow_run=client.read_flow_run(run.id))
        again = client.read_flow_run(run.id)

    assert first.name.startswith(f"model · data · {datetime.now(UTC):%Y-}")
    assert again.run_count == 2
    assert again.name == "of the first evening"


@flow
def beginning(run: FineTune) -> RunContext:
    return run_context()


def context(**changes: Any) -> RunContext:
    return beginning(FineTune.model_validate(changes))


def wanted(found: RunContext) -> timedelta:
    tags = found.owner.tags
    begun = datetime.fromisoformat(tags[ownership.CREATED_TAG])
    return datetime.fromisoformat(tags[ownership.EXPIRES_TAG]) - begun


def test_the_context_says_whose_and_until_the_runs_own_deadlines(
    azure_env: RunningEmulator, prefect_server: None
) -> None:
    key = uuid.uuid4().hex

    found = context(key=key, deadlines={"training_minutes": 60})

    assert found.owner.key == run_key("", key) == found.owner.tags[ownership.KEY_TAG]
    assert found.owner.tags[ownership.FLOW_TAG] == FINE_TUNE
    assert found.owner.tags[ownership.RUN_TAG] == found.owner.flow_run_id
    assert wanted(found) == timedelta(minutes=found.deadlines.total_minutes)
    assert found.deadlines.training_minutes == 60


def test_the_hours_that_an_endpoint_is_kept_count_from_its_deployment(
    azure_env: RunningEmulator, prefect_server: None
) -> None:
    found = context(endpoint={"keep": True, "keep_hours": 5})

    assert found.owner.tags[ownership.KEEP_TAG] == "true"
    assert wanted(found) == timedelta(minutes=found.deadlines.total_minutes)


def test_without_a_key_the_flow_run_names_what_it_makes(
    azure_env: RunningEmulator, prefect_server: None
) -> None:
    found = context()

    assert found.owner.key == run_key(found.owner.flow_run_id)
