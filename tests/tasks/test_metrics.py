"""Reading metrics from a real tracking service that refuses or does not answer: told as it is."""

from __future__ import annotations

import uuid

import pytest

from finetuning.azure.settings import Settings
from finetuning.errors import CredentialError, FineTuneError, MetricsUnreadable, ResourceMissing
from finetuning.form.context import RunContext
from finetuning.form.run import FineTune
from tasks.metrics import review_metrics
from tests.conftest import RunningEmulator
from tests.support.runs import context_of

JOB = "fine-tune-of-which-nothing-was-logged"


@pytest.fixture
def context(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> RunContext:
    """A context whose client of the tracking service repeats nothing."""
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    return context_of(FineTune(key="of-which-nothing-was-logged"))


def read(context: RunContext) -> FineTuneError:
    with pytest.raises(FineTuneError) as raised:
        review_metrics.fn(context, f"experiment-{uuid.uuid4().hex}", JOB)
    return raised.value


def refuse(emulator: RunningEmulator, **fault: object) -> None:
    emulator.add_fault(method="GET", path="/mlflow/experiments/get-by-name", times=9, **fault)


def test_a_role_that_may_not_read_metrics_is_told_and_is_not_tried_again(
    azure_env: RunningEmulator, context: RunContext
) -> None:
    refuse(azure_env, kind="status", status=403, code="AuthorizationFailed")

    error = read(context)

    assert isinstance(error, CredentialError)
    assert not error.transient
    assert "AuthorizationFailed" in str(error)
    assert "role" in str(error)


def test_another_refusal_names_the_job_and_the_services_words_and_is_not_tried_again(
    azure_env: RunningEmulator, context: RunContext
) -> None:
    refuse(azure_env, kind="status", status=400, code="UserError")

    error = read(context)

    assert isinstance(error, MetricsUnreadable)
    assert not error.transient
    assert JOB in str(error)
    assert "UserError" in str(error)


@pytest.mark.parametrize("fault", [{"kind": "status", "status": 503}, {"kind": "reset_before"}])
def test_a_tracking_service_that_is_away_is_tried_again(
    azure_env: RunningEmulator, context: RunContext, fault: dict[str, object]
) -> None:
    refuse(azure_env, **fault)

    error = read(context)

    assert isinstance(error, MetricsUnreadable)
    assert error.transient
    assert JOB in str(error)


def test_a_job_that_logged_nothing_is_told_apart_from_a_service_that_is_away(
    context: RunContext,
) -> None:
    assert isinstance(read(context), ResourceMissing)
