"""Endpoints that tokens open: their own (aml_token) and Entra ID's (aad_token)."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from emulator.protocol import tokens
from tests.emulator.support.in_process import InProcess

SCORE = "Microsoft.MachineLearningServices/workspaces/onlineEndpoints/score/action"
HOUR = 3600
DAY = 24 * HOUR


def serving(azure: InProcess, mode: str, name: str = "chat-end") -> InProcess:
    """An endpoint of this mode whose deployment has all the traffic."""
    azure.finish(azure.endpoint(name, authMode=mode))
    assert azure.finish(azure.deploy(azure.model(name), name))["status"] == "Succeeded"
    azure.finish(azure.endpoint(name, authMode=mode, traffic={"blue": 100}))
    return azure


@pytest.fixture
def own(azure: InProcess) -> InProcess:
    return serving(azure, "AMLToken")


@pytest.fixture
def entra(azure: InProcess) -> InProcess:
    return serving(azure, "AADToken")


def token(azure: InProcess, name: str = "chat-end") -> dict[str, Any]:
    answer = azure.ask("POST", f"onlineEndpoints/{name}/token")
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


def of_entra(azure: InProcess, audience: str = "https://ml.azure.com") -> str:
    return tokens.issue(azure.config, audience, azure.clock.now())


def status(azure: InProcess, key: str) -> int:
    return azure.score({}, key=key).status_code


def test_an_endpoints_token_opens_it_until_it_expires(own: InProcess) -> None:
    found = token(own)

    assert found["tokenType"] == "Bearer"
    assert found["expiryTimeUtc"] == own.clock.now() + DAY
    assert own.clock.now() < found["refreshAfterTimeUtc"] < found["expiryTimeUtc"]
    assert status(own, found["accessToken"]) == 200
    own.move(DAY)
    answer = own.score({}, key=found["accessToken"])
    assert answer.status_code == 401 and "expiry" in answer.json()["error"]["message"]
    assert status(own, token(own)["accessToken"]) == 200


def test_a_token_opens_no_other_endpoint(own: InProcess) -> None:
    serving(own, "AMLToken", "other-end")

    assert status(own, token(own, "other-end")["accessToken"]) == 401
    assert status(own, of_entra(own)) == 401
    assert status(own, own.token) == 401
    assert status(own, "nonsense") == 401


def test_entras_tokens_for_azure_ml_open_an_endpoint_of_entra_id(entra: InProcess) -> None:
    assert status(entra, of_entra(entra)) == 200
    assert status(entra, of_entra(entra, entra.config.audience)) == 200
    for audience in ("https://storage.azure.com", f"https://{entra.config.management_host}"):
        assert status(entra, of_entra(entra, audience)) == 401


def test_a_token_of_another_tenant_opens_nothing(entra: InProcess, tmp_path: Path) -> None:
    other = InProcess(tmp_path / "other")
    stranger = of_entra(other)
    other.close()

    assert status(entra, stranger) == 401


@pytest.mark.parametrize(
    ("mode", "action"),
    [("AMLToken", "listKeys"), ("AADToken", "listKeys"), ("AADToken", "token"), ("Key", "token")],
)
def test_an_endpoint_has_the_credentials_of_its_mode_only(
    azure: InProcess, mode: str, action: str
) -> None:
    azure.finish(azure.endpoint(authMode=mode))
    answer = azure.ask("POST", f"onlineEndpoints/chat-end/{action}")

    assert (answer.status_code, answer.json()["error"]["code"]) == (400, "BadArgument")


def test_keys_of_an_endpoint_with_tokens_are_not_regenerated(own: InProcess) -> None:
    path = "onlineEndpoints/chat-end/regenerateKeys"

    assert own.ask("POST", path, json={"keyType": "Primary"}).status_code == 400


def test_the_mode_of_an_endpoint_is_fixed(own: InProcess) -> None:
    assert own.endpoint(authMode="Key").status_code == 400


@pytest.fixture
def barred(tmp_path: Path) -> Iterator[InProcess]:
    """An emulator whose caller may not score."""
    found = InProcess(tmp_path / "barred", denied_actions=(SCORE,))
    yield found
    found.close()


def test_who_may_not_score_is_refused_by_his_role(barred: InProcess) -> None:
    serving(barred, "AADToken")
    answer = barred.score({}, key=of_entra(barred))

    assert answer.status_code == 403 and "score/action" in answer.json()["error"]["message"]
