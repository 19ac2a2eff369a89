"""Steps begin without asking Prefect's server, which may be away or busy, and bear their tags."""

from __future__ import annotations

import pkgutil
from importlib import import_module
from uuid import UUID

import pytest
from prefect import Task, flow
from prefect.client.orchestration import get_client
from prefect.client.schemas.actions import GlobalConcurrencyLimitCreate

import flows
import tasks
from tasks.step import Step, step
from tests.support.waiting import until


def all_tasks() -> dict[str, Task[..., object]]:
    packages = [*pkgutil.walk_packages(flows.__path__, "flows.")]
    packages += pkgutil.walk_packages(tasks.__path__, "tasks.")
    modules = [import_module(one.name) for one in packages]
    found = [one for module in modules for one in vars(module).values() if isinstance(one, Task)]
    return {one.name: one for one in found}


ALL = all_tasks()


@pytest.mark.parametrize("name", sorted(ALL))
def test_every_task_of_ours_is_a_step(name: str) -> None:
    assert isinstance(ALL[name], Step)


def test_a_step_begins_though_no_slot_of_its_tags_is_free_and_bears_them_nevertheless(
    prefect_server: None,
) -> None:
    @step("Tagged")
    def tagged() -> None:
        pass

    @flow
    def one_step() -> UUID:
        return tagged(return_state=True).state_details.task_run_id

    with get_client(sync_client=True) as client:
        client.create_global_concurrency_limit(
            GlobalConcurrencyLimitCreate(name="tag:slotless", limit=0)
        )
        id_ = one_step()
        until("its tags have reached the server", lambda: client.read_task_run(id_).tags)
        run = client.read_task_run(id_)

    assert run.state is not None
    assert run.state.is_completed()
    assert run.tags == ["slotless"]
