"""Until when what a run makes is wanted: beginning again extends nothing; serving dates it."""

from __future__ import annotations

import uuid
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest
from prefect import flow
from prefect.client.orchestration import get_client
from prefect.flow_engine import run_flow
from prefect.runtime import flow_run
from prefect.states import AwaitingRetry, Completed, Crashed

from finetuning.azure.client import open_client
from finetuning.azure.naming import run_key
from finetuning.azure.ownership import CREATED_TAG, EXPIRES_TAG, SERVED_TAG, SERVER_TAG
from finetuning.azure.settings import load_settings
from finetuning.form.context import RunContext
from finetuning.form.run import FineTune
from flows.fine_tune import fine_tune
from flows.lifecycle.context import run_context
from flows.lifecycle.runs import find_owners
from flows.lifecycle.server import server_id
from tasks.endpoint import create_endpoint, date_serving
from tasks.waiting import patience
from tests.conftest import RunningEmulator
from tests.support.waiting import until

pytestmark = pytest.mark.slow

KEPT: dict[str, Any] = {"endpoint": {"keep": True, "keep_hours": 24}}


@flow(name="dated")
def dated(run: FineTune) -> tuple[RunContext, int]:
    return run_context(), flow_run.run_count


def begin(flow_run_id: UUID) -> tuple[RunContext, int]:
    with get_client(sync_client=True) as client:
        found = client.read_flow_run(flow_run_id)
    seen: Any = run_flow(dated, flow_run=found, parameters={"run": FineTune(**KEPT)})
    return seen[0], seen[1]


def test_a_run_that_begins_again_wants_what_it_makes_no_longer(stage: RunningEmulator) -> None:
    with get_client(sync_client=True) as client:
        made = client.create_flow_run(dated, parameters={"run": KEPT})
        first, begun_before = begin(made.id)
        for state in (Crashed(), AwaitingRetry()):  # a restart, and no retry on purpose
            client.set_flow_run_state(made.id, state, force=True)
        ran = client.read_flow_run(made.id)
    assert ran.start_time is not None
    until("a second has passed", lambda: (datetime.now(UTC) - ran.start_time).total_seconds() > 1.5)
    second, begun_after = begin(made.id)

    assert (begun_before, begun_after) == (1, 2)
    assert second.owner.tags == first.owner.tags
    assert first.owner.tags[CREATED_TAG] == ran.start_time.isoformat(timespec="seconds")
    assert first.owner.tags[SERVER_TAG] == server_id()


def test_the_tag_and_the_owners_deadline_say_the_same_number(stage: RunningEmulator) -> None:
    with get_client(sync_client=True) as client:
        made = client.create_flow_run(dated, parameters={"run": KEPT})
    context, _ = begin(made.id)

    @flow
    def ask() -> Any:
        from tests.flows.test_two_patiences import PATIENT

        return find_owners(fine_tune.name, {str(made.id)}, PATIENT, dry_run=True)

    (owner,) = [one for one in ask().owners if one.flow_run_id == str(made.id)]
    assert owner.wanted_until is not None
    assert context.owner.tags[EXPIRES_TAG] == owner.wanted_until.isoformat(timespec="seconds")


def endpoint_tags(name: str) -> dict[str, str]:
    return dict(open_client(load_settings()).online_endpoints.get(name).tags)


def test_a_kept_endpoint_expires_its_hours_after_it_began_to_serve_and_restarts_add_none(
    stage: RunningEmulator,
) -> None:
    with get_client(sync_client=True) as client:
        made = client.create_flow_run(dated, parameters={"run": KEPT})
        context, _ = begin(made.id)
        client.set_flow_run_state(made.id, Completed(), force=True)
    name = f"dated-{uuid.uuid4().hex[:12]}"
    wait = patience(context.deadlines, "deployment_minutes")
    client_ = open_client(context.settings)

    @flow
    def serve_twice() -> list[dict[str, str]]:
        seen = []
        for hours in (24, 24, 48):
            create_endpoint(context, name)
            date_serving(client_, name, hours, wait)
            seen.append(endpoint_tags(name))
        return seen

    before = datetime.now(UTC)
    first, *later = serve_twice()

    served = datetime.fromisoformat(first[SERVED_TAG])
    assert served >= before - timedelta(seconds=1)
    assert datetime.fromisoformat(first[EXPIRES_TAG]) == served + timedelta(hours=24)
    assert later == [first, first]
    client_.online_endpoints.begin_delete(name).wait()


def test_a_new_run_with_the_same_key_adopts_an_endpoint_with_its_times(
    stage: RunningEmulator,
) -> None:
    chosen = uuid.uuid4().hex
    name = f"dated-{uuid.uuid4().hex[:12]}"
    contexts = []
    with get_client(sync_client=True) as client:
        for _ in range(2):
            made = client.create_flow_run(dated, parameters={"run": KEPT})
            context, _ = begin(made.id)
            key = run_key("", chosen)
            tags = {**context.owner.tags, "finetune.run-key": key}
            tags[EXPIRES_TAG] = f"{tags[EXPIRES_TAG][:-6]}.00000{len(contexts)}+00:00"
            owner = context.owner.model_copy(update={"key": key, "tags": tags})
            contexts.append(context.model_copy(update={"owner": owner}))

    @flow
    def create_twice() -> dict[str, str]:
        for context in contexts:
            create_endpoint(context, name)
        return endpoint_tags(name)

    tags = create_twice()
    assert tags[EXPIRES_TAG] == contexts[0].owner.tags[EXPIRES_TAG]
    assert tags["finetune.flow-run-id"] == contexts[1].owner.flow_run_id
    open_client(load_settings()).online_endpoints.begin_delete(name).wait()
