"""Reading metrics from a real tracking service that refuses or does not answer: told as it is."""

from __future__ import annotations

import uuid

import pytest

from finetuning.azure.client import open_client
from finetuning.azure.settings import Settings
from finetuning.errors import CredentialError, FineTuneError, MetricsUnreadable, ResourceMissing
from finetuning.form.results import Connected
from tasks.metrics import review_metrics
from tests.conftest import RunningEmulator

JOB = "fine-tune-of-which-nothing-was-logged"


@pytest.fixture
def connected(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Connected:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    workspace = open_client(settings).workspaces.get(settings.workspace_name)
    return Connected(
        workspace=settings.workspace_name,
        location="westeurope",
        registry="azureml",
        tracking_uri=str(workspace.mlflow_tracking_uri),
        credential="",
    )


def read(connected: Connected) -> FineTuneError:
    with pytest.raises(FineTuneError) as raised:
        review_metrics.fn(connected, f"experiment-{uuid.uuid4().hex}", JOB)
    return raised.value


def refuse(emulator: RunningEmulator, **fault: object) -> None:
    emulator.add_fault(method="GET", path="/mlflow/experiments/get-by-name", times=9, **fault)


def test_a_role_that_may_not_read_metrics_is_told_and_is_not_tried_again(
    azure_env: RunningEmulator, connected: Connected
) -> None:
    refuse(azure_env, kind="status", status=403, code="AuthorizationFailed")

    error = read(connected)

    assert isinstance(error, CredentialError)
    assert not error.transient
    assert "AuthorizationFailed" in str(error)
    assert "role" in str(error)


def test_another_refusal_names_the_job_and_the_services_words_and_is_not_tried_again(
    azure_env: RunningEmulator, connected: Connected
) -> None:
    refuse(azure_env, kind="status", status=400, code="UserError")

    error = read(connected)

    assert isinstance(error, MetricsUnreadable)
    assert not error.transient
    assert JOB in str(error)
    assert "UserError" in str(error)


@pytest.mark.parametrize("fault", [{"kind": "status", "status": 503}, {"kind": "reset_before"}])
def test_a_tracking_service_that_is_away_is_tried_again(
    azure_env: RunningEmulator, connected: Connected, fault: dict[str, object]
) -> None:
    refuse(azure_env, **fault)

    error = read(connected)

    assert isinstance(error, MetricsUnreadable)
    assert error.transient
    assert JOB in str(error)


def test_a_job_that_logged_nothing_is_told_apart_from_a_service_that_is_away(
    connected: Connected,
) -> None:
    assert isinstance(read(connected), ResourceMissing)
