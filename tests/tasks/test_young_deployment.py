"""A deployment that is not up on every node answers 424: asked again, unlike a wrong request."""

from __future__ import annotations

import uuid
from typing import Any

import pytest
from prefect import flow, task

from finetuning.azure.client import open_client
from finetuning.azure.settings import Settings
from finetuning.errors import AnswerError, NotAnsweringYet
from finetuning.recipes import find_recipe
from tasks.scoring import _Endpoint
from tasks.step import REPEATED
from tests.conftest import RunningEmulator

pytestmark = pytest.mark.slow

AT_ONCE: dict[str, Any] = {**REPEATED, "retry_delay_seconds": [0.0], "retries": 1}


@pytest.fixture
def young(settings: Settings, prefect_server: None) -> _Endpoint:
    """An endpoint; what it would answer is a fault's to say."""
    from azure.ai.ml.entities import ManagedOnlineEndpoint

    name = f"young-{uuid.uuid4().hex[:12]}"
    client = open_client(settings)
    made = ManagedOnlineEndpoint(name=name, auth_mode="key")
    client.online_endpoints.begin_create_or_update(made).wait()
    return _Endpoint(client, find_recipe("chat_completion"), name, "")


@pytest.mark.parametrize(("status", "asked"), [(424, 2), (400, 1), (404, 1)])
def test_a_container_that_is_not_ready_is_asked_again(
    young: _Endpoint, emulator: RunningEmulator, status: int, asked: int
) -> None:
    emulator.add_fault(kind="status", method="POST", path="/score", status=status, times=0)
    before = emulator.requests()[-1]["index"]

    @task(**AT_ONCE)
    def ask() -> str:
        return young._invoke({}, "Are you there?")

    @flow
    def testing() -> str:
        return ask()

    with pytest.raises(AnswerError, match=f"HTTP {status}") as raised:
        testing()

    assert isinstance(raised.value, NotAnsweringYet) == (status == 424)
    told = [one for one in emulator.requests(after=before) if one["path"].endswith("/score")]
    assert len(told) == asked
    young.client.online_endpoints.begin_delete(young.name).wait()
