"""Steps begin without asking Prefect's server for slots, and are repeated where that can help."""

from __future__ import annotations

import pkgutil
from collections.abc import Callable
from importlib import import_module
from uuid import UUID

import httpx
import pytest
from prefect import Task, flow
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.actions import GlobalConcurrencyLimitCreate
from prefect.exceptions import ObjectNotFound
from prefect.flow_engine import FlowRunTimeoutError, run_flow
from prefect.states import Failed

import flows
import tasks
from finetuning.errors import CredentialError, ServiceError
from tasks.step import azure_step, when_transient
from tests.support.waiting import until


def all_tasks() -> dict[str, Task[..., object]]:
    packages = [*pkgutil.walk_packages(flows.__path__, "flows.")]
    packages += pkgutil.walk_packages(tasks.__path__, "tasks.")
    modules = [import_module(one.name) for one in packages]
    found = [one for module in modules for one in vars(module).values() if isinstance(one, Task)]
    return {one.name: one for one in found}


ALL = all_tasks()


def test_the_tasks_are_the_steps_of_the_tutorial_and_more() -> None:
    assert len(ALL) >= 27
    assert {"Submit the fine-tuning job", "Pin the plan", "Ask which runs live"} <= set(ALL)


@pytest.mark.parametrize("name", sorted(ALL))
def test_no_task_of_ours_has_tags(name: str) -> None:
    """Prefect asks its server for a slot of each before the task begins, outside its retries."""
    assert ALL[name].tags == set()


def test_a_step_begins_though_no_slot_of_its_runs_tags_is_free(prefect_server: None) -> None:
    """The deployments have tags, which a run bears and its steps do not."""

    @azure_step("Untagged")
    def untagged() -> None:
        pass

    @flow
    def one_step() -> UUID:
        return untagged(return_state=True).state_details.task_run_id

    with get_client(sync_client=True) as client:
        client.create_global_concurrency_limit(
            GlobalConcurrencyLimitCreate(name="tag:slotless", limit=0)
        )
        run = client.create_flow_run(one_step, tags=["slotless"])
        step = run_flow(one_step, flow_run=run)
        until("the step has ended", lambda: has_ended(client, step))
        tags = client.read_flow_run(run.id).tags, client.read_task_run(step).tags

    assert tags == (["slotless"], [])


def has_ended(client: SyncPrefectClient, step: UUID) -> bool:
    try:
        state = client.read_task_run(step).state
    except ObjectNotFound:  # the server has not taken in its events yet
        return False
    return state is not None and state.is_completed()


def status(code: int) -> httpx.HTTPStatusError:
    request = httpx.Request("GET", "http://127.0.0.1:4200/api")
    return httpx.HTTPStatusError("", request=request, response=httpx.Response(code))


@pytest.mark.parametrize(
    ("error", "again"),
    [
        (ServiceError("Ask", 503, "Busy", "later"), True),
        (ServiceError("Ask", 400, "Bad", "never"), False),
        (CredentialError("no role"), False),
        (status(503), True),
        (status(422), False),
        (ConnectionResetError(), True),
        (httpx.ReadTimeout("slow"), True),
        (TimeoutError(), True),
        (FlowRunTimeoutError(), False),
        (KeyError("a defect"), False),
    ],
    ids=lambda one: repr(one)[:40],
)
def test_a_step_is_repeated_only_where_that_can_help(error: Exception, again: bool) -> None:
    no_task: Callable[[], None] | None = None

    assert when_transient(no_task, None, Failed(data=error)) is again


def test_a_step_tells_azures_exception_in_azures_words() -> None:
    from azure.core.exceptions import ServiceRequestError

    @azure_step("Do it")
    def failing() -> None:
        raise ServiceRequestError("the line is dead")

    with pytest.raises(ServiceError, match=r"Do it: .*the line is dead"):
        failing.fn()
