"""Connecting and its gate against the emulator: what works, and what is said where it does not."""

from __future__ import annotations

import uuid
from pathlib import Path

import pytest
from prefect import flow

from finetuning.azure.settings import Settings, load_settings
from finetuning.errors import CredentialError, FineTuneError, ResourceMissing
from finetuning.form.run import FineTune
from tasks.connection import check_credential, connect
from tests.conftest import RunningEmulator, environment, run_python, running_emulator
from tests.support.findings import errors_of
from tests.support.runs import context_of


@flow
def connecting(settings: Settings) -> None:
    context = context_of(FineTune(key="connecting"))
    connect(context.model_copy(update={"settings": settings}))


def test_connecting_reaches_workspace_and_registry(
    settings: Settings, emulator: RunningEmulator, prefect_server: None, nothing_is_written: None
) -> None:
    before = max((one["index"] for one in emulator.requests()), default=0)

    connecting(settings)

    asked = [one["path"] for one in emulator.requests(after=before)]
    assert settings.registry_name == "azureml"
    assert any(path.endswith(f"/workspaces/{settings.workspace_name}") for path in asked)


def test_a_registry_that_is_not_there_is_named(settings: Settings, prefect_server: None) -> None:
    wrong = settings.model_copy(update={"registry_name": "no-such-registry"})

    with pytest.raises(FineTuneError, match="no-such-registry"):
        connecting(wrong)


def test_connecting_does_not_pay_for_mlflow(azure_env: RunningEmulator) -> None:
    """Its import takes 5 s, and only the metrics need it."""
    program = (
        "import sys\n"
        "from finetuning.form.run import FineTune\n"
        "from tasks.connection import connect\n"
        "from tests.support.runs import context_of\n"
        "from prefect.logging import disable_run_logger\n"
        "with disable_run_logger():\n"
        "    connect.fn(context_of(FineTune(key='alone')))\n"
        "print('mlflow' in sys.modules)\n"
    )

    done = run_python({}, "-c", program, seconds=60)

    assert done.stdout.split() == ["False"], done.stderr


@pytest.mark.parametrize(
    "field, named",
    [
        ("workspace_name", "AZURE_WORKSPACE_NAME"),
        ("resource_group", "AZURE_RESOURCE_GROUP"),
        ("subscription_id", "AZURE_SUBSCRIPTION_ID"),
    ],
)
def test_a_workspace_that_is_not_there_is_named_with_what_to_check(
    settings: Settings, prefect_server: None, field: str, named: str
) -> None:
    wrong = settings.model_copy(update={field: "not-there"})

    with pytest.raises(ResourceMissing, match="not-there") as error:
        connecting(wrong)

    assert named in str(error.value)


def test_the_credential_says_who_and_until_when_and_never_its_token(
    settings: Settings, nothing_is_written: None
) -> None:
    found = check_credential.fn(settings, FineTune())

    assert found.kind == "ManagedIdentityCredential"
    assert uuid.UUID(found.principal)
    assert found.location == "westeurope"
    assert errors_of(found.findings) == []
    assert "eyJ" not in found.model_dump_json()


def test_a_right_that_is_missing_is_an_error_before_anything_is_created(tmp_path: Path) -> None:
    denied = "Microsoft.MachineLearningServices/workspaces/onlineEndpoints/write"
    with (
        running_emulator(tmp_path / "state", "--deny", denied) as strict,
        environment(strict.env),
    ):
        found = check_credential.fn(load_settings(), FineTune())

        assert len(errors_of(found.findings)) == 1
        assert "may not create endpoints" in errors_of(found.findings)[0]
        assert "role" in errors_of(found.findings)[0]
        assert strict.summary()["endpoints"] == []


def test_where_azure_does_not_tell_rights_the_gate_says_so(
    settings: Settings, emulator: RunningEmulator
) -> None:
    emulator.add_fault(
        kind="status", method="GET", path="/permissions", status=404, times=1, code="NotFound"
    )

    found = check_credential.fn(settings, FineTune())

    assert errors_of(found.findings) == []
    assert any("does not say" in one.what for one in found.findings)


def test_a_refused_token_is_a_credential_error(
    settings: Settings, emulator: RunningEmulator
) -> None:
    emulator.add_fault(
        kind="status", method="GET", path="/workspaces/", status=403, times=1,
        code="AuthorizationFailed", message="no role assignment",
    )  # fmt: skip

    with pytest.raises(CredentialError, match="no role assignment"):
        check_credential.fn(settings, FineTune())


def test_a_workspace_that_is_not_there_is_named(settings: Settings) -> None:
    other = settings.model_copy(update={"workspace_name": "nowhere"})

    with pytest.raises(ResourceMissing, match="'nowhere' is not in resource group"):
        check_credential.fn(other, FineTune())
