"""Tokens: who gets one, what is in it, which ones open what."""

import jwt

from emulator.protocol import tokens
from tests.emulator.support.in_process import InProcess


def ask_token(azure: InProcess, resource: str = "https://x/", secret: str | None = None):
    header = azure.config.identity.identity_header if secret is None else secret
    query = {"resource": resource, "api-version": "2019-08-01"}
    return azure.plain("GET", "/msi/token", params=query, headers={"X-IDENTITY-HEADER": header})


def test_a_token_names_tenant_audience_and_expiry(azure):
    answer = ask_token(azure, f"https://ml.azure.{azure.config.suffix}/").json()
    claims = jwt.decode(answer["access_token"], options={"verify_signature": False})

    assert claims["tid"] == azure.config.tenant_id
    assert claims["aud"] == azure.config.audience
    assert claims["exp"] == int(answer["expires_on"]) == azure.clock.now() + 24 * 3600
    assert answer["token_type"] == "Bearer"


def test_the_token_endpoint_wants_its_secret_and_a_resource(azure):
    assert ask_token(azure, secret="wrong").status_code == 401
    assert ask_token(azure, secret="").status_code == 401
    assert ask_token(azure, resource="").status_code == 400


def test_a_request_without_a_token_is_refused_with_a_challenge(azure):
    answer = azure.ask("GET", "", headers={"Authorization": None})

    assert answer.status_code == 401
    assert answer.json()["error"]["code"] == "AuthenticationFailed"
    assert azure.config.tenant_id in answer.headers["WWW-Authenticate"]


def test_a_token_is_refused_after_its_time(azure):
    old = {"Authorization": f"Bearer {azure.token}"}
    assert azure.ask("GET", "", headers=old).status_code == 200
    azure.move(24 * 3600)
    answer = azure.ask("GET", "", headers=old)

    assert answer.status_code == 401
    assert answer.json()["error"]["code"] == "ExpiredAuthenticationToken"
    assert azure.ask("GET", "").status_code == 200


def test_a_token_of_another_emulator_is_refused(azure, tmp_path):
    other = InProcess(tmp_path / "other")
    answer = azure.ask("GET", "", headers={"Authorization": f"Bearer {other.token}"})
    other.close()

    assert (answer.status_code, answer.json()["error"]["code"]) == (
        401,
        "InvalidAuthenticationToken",
    )


def test_a_token_that_is_not_signed_is_refused(azure):
    claims = {"aud": f"https://{azure.config.management_host}", "exp": 9e9, "tid": "t"}
    forged = jwt.encode(claims, None, algorithm="none")
    answer = azure.ask("GET", "", headers={"Authorization": f"Bearer {forged}"})

    assert answer.json()["error"]["code"] == "InvalidAuthenticationToken"


def test_a_token_opens_only_what_it_is_for(azure):
    now = azure.clock.now()
    storage = {"Authorization": f"Bearer {tokens.issue(azure.config, tokens.STORAGE, now)}"}
    real = {
        "Authorization": f"Bearer {tokens.issue(azure.config, 'https://management.azure.com', now)}"
    }
    lookalike = tokens.issue(azure.config, f"https://evil{azure.config.suffix}", now)
    blobs = ("GET", "/azureml?restype=container&comp=list")

    for wrong in (storage, real, {"Authorization": f"Bearer {lookalike}"}):
        answer = azure.ask("GET", "", headers=wrong)
        assert answer.json()["error"]["code"] == "InvalidAuthenticationTokenAudience"
    assert azure.at(azure.config.blob_host, *blobs).status_code == 401
    assert azure.at(azure.config.blob_host, *blobs, headers=storage).status_code == 200
