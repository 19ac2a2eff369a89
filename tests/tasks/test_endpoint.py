"""The endpoint's name, looked at by the real SDK."""

from __future__ import annotations

import uuid

from finetuning.azure import ownership
from finetuning.azure.client import open_client
from finetuning.azure.settings import Settings
from tasks.endpoint import look_at_endpoint


def test_an_endpoints_name_is_free_until_it_is_taken(settings: Settings) -> None:
    from azure.ai.ml.entities import ManagedOnlineEndpoint

    name = f"gate-{uuid.uuid4().hex[:8]}"
    client = open_client(settings)
    assert not look_at_endpoint.fn(settings, name).taken

    made = ManagedOnlineEndpoint(name=name, auth_mode="key", tags={ownership.KEY_TAG: "mine"})
    client.online_endpoints.begin_create_or_update(made).result()
    try:
        found = look_at_endpoint.fn(settings, name)
    finally:
        client.online_endpoints.begin_delete(name).wait()

    assert found.taken and found.run_key == "mine"
