"""Whatever asks Azure, and by whichever library, gives a hung request up after the same time."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import pytest
import requests
from azure.core.credentials import AccessToken

from finetuning.azure import client, clouds, credentials, rest
from finetuning.azure.scoring import Scoring
from finetuning.azure.settings import CredentialChoice, Settings
from finetuning.azure.time_limits import CONNECT_TIMEOUT_S, READ_TIMEOUT_S
from finetuning.conversations.sources import files

SETTINGS = Settings(subscription_id="s", resource_group="g", workspace_name="w")
HOST = "https://nobody.example.com"


class Stopped(BaseException):
    """Ends a request before it leaves this machine; no library repeats it."""


class Token:
    """A credential that nobody has to ask for."""

    def get_token(self, *_: str, **__: Any) -> AccessToken:
        return AccessToken("token", int(time.time()) + 3600)


def ask_scoring() -> object:
    return Scoring(f"{HOST}/score", {}).ask({})


def ask_storage() -> object:
    return files._client(HOST, "container", "path", Token()).get_blob_properties()


def ask_manager() -> object:
    return rest.get_workspace(SETTINGS)


def ask_by_the_sdk() -> object:
    return client._build(SETTINGS, "workspace").workspaces.get("w")


def ask_metadata() -> object:
    return clouds.cloud_metadata(
        SETTINGS.model_copy(update={"cloud": "Private", "metadata_url": HOST})
    )


def ask_managed_identity() -> object:
    choice = CredentialChoice(kind="managed_identity")
    return _token(SETTINGS.model_copy(update={"credential": choice}))


def ask_the_authority() -> object:
    about = {"kind": "service_principal", "tenant_id": "t", "client_id": "c", "client_secret": "x"}
    choice = CredentialChoice.model_validate(about)
    return _token(SETTINGS.model_copy(update={"credential": choice}))


def _token(settings: Settings) -> object:
    return credentials._credential(settings).get_token("https://management.azure.com/.default")


@pytest.mark.parametrize(
    "ask",
    [
        ask_scoring,
        ask_storage,
        ask_manager,
        ask_by_the_sdk,
        ask_metadata,
        ask_managed_identity,
        ask_the_authority,
    ],
    ids=lambda ask: ask.__name__,
)
def test_every_way_to_azure_has_the_same_time_limits(
    ask: Callable[[], object], monkeypatch: pytest.MonkeyPatch
) -> None:
    limits: list[Any] = []

    def send(_: object, request: object, **options: Any) -> object:
        limits.append(options["timeout"])
        raise Stopped

    for module in (client, rest):
        monkeypatch.setattr(module, "find_credential", lambda _: Token())
    monkeypatch.setenv("IDENTITY_ENDPOINT", f"{HOST}/msi/token")
    monkeypatch.setenv("IDENTITY_HEADER", "header")
    monkeypatch.setattr(requests.adapters.HTTPAdapter, "send", send)

    with pytest.raises(Stopped):
        ask()

    assert limits == [(CONNECT_TIMEOUT_S, READ_TIMEOUT_S)]
