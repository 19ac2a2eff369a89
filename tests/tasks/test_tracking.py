"""Metrics by plain REST with our own credential: read, refused, away; and nobody is ever asked."""

from __future__ import annotations

import json
import math
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from finetuning.azure.ownership import Ownership
from finetuning.azure.rest import ask_json
from finetuning.azure.settings import Settings, load_settings
from finetuning.azure.tracking import find_runs, metric_history, tracking_url
from finetuning.errors import CredentialError, FineTuneError, MetricsUnreadable, ResourceMissing
from finetuning.form.context import RunContext
from finetuning.form.run import Deadlines
from tasks.metrics import review_metrics
from tests.conftest import RunningEmulator, environment, run_python

JOB = "fine-tune-of-which-nothing-was-logged"
STEPS = 300


@pytest.fixture(scope="module")
def settings(shared_emulator: RunningEmulator) -> Iterator[Settings]:
    with environment(shared_emulator.env):
        yield load_settings()


@pytest.fixture(scope="module")
def logged(settings: Settings) -> tuple[str, str]:
    """An experiment, and a job of it with one run that logged and one that did not."""
    experiment, job = f"experiment {uuid.uuid4().hex} / ä", f"job-{uuid.uuid4().hex}"
    id_ = post(settings, "experiments/create", {"name": experiment})["experiment_id"]
    for root in (job, job, "another-job"):
        tags = [{"key": "mlflow.rootRunId", "value": root}]
        made = post(settings, "runs/create", {"experiment_id": id_, "tags": tags, "start_time": 1})
    run = find_runs(settings, experiment, job)[0].run
    points = [
        {"key": "loss", "value": 10.0 - i / 100, "step": i, "timestamp": i} for i in range(STEPS)
    ]
    points += [{"key": "epoch", "value": 1.0, "step": STEPS, "timestamp": STEPS}]
    points += [{"key": "eval_loss", "value": "NaN", "step": 3, "timestamp": 3}]
    post(settings, "runs/log-batch", {"run_id": run, "metrics": points})
    assert made
    return experiment, job


def post(settings: Settings, call: str, body: dict[str, Any]) -> dict[str, Any]:
    return ask_json(settings, "POST", f"{tracking_url(settings)}/{call}", body)


def context(settings: Settings) -> RunContext:
    owner = Ownership(flow_run_id="test", key="test", tags={})
    return RunContext(settings=settings, owner=owner, deadlines=Deadlines())


def read(settings: Settings) -> FineTuneError:
    with pytest.raises(FineTuneError) as raised:
        review_metrics.fn(context(settings), f"experiment-{uuid.uuid4().hex}", JOB)
    return raised.value


@pytest.fixture
def refuse(emulator: RunningEmulator) -> Any:
    def set_(**fault: object) -> None:
        path = "/mlflow/experiments/get-by-name"
        emulator.add_fault(method="GET", path=path, times=99, retry_after=0, **fault)

    return set_


def test_only_the_jobs_own_runs_are_read_with_their_last_values(
    settings: Settings, logged: tuple[str, str]
) -> None:
    runs = find_runs(settings, *logged)

    assert len(runs) == 2
    told = [one for one in runs if one.metrics]
    assert len(told) == 1
    assert told[0].metrics["loss"] == 10.0 - (STEPS - 1) / 100
    assert math.isnan(told[0].metrics["eval_loss"])


def test_a_curve_is_read_whole_and_in_the_order_of_its_steps(
    settings: Settings, logged: tuple[str, str]
) -> None:
    run = next(one.run for one in find_runs(settings, *logged) if one.metrics)

    assert metric_history(settings, run, "loss") == [(i, 10.0 - i / 100) for i in range(STEPS)]
    assert metric_history(settings, run, "never") == []


def test_a_role_that_may_not_read_metrics_is_told_and_is_not_tried_again(
    settings: Settings, refuse: Any
) -> None:
    refuse(kind="status", status=403, code="AuthorizationFailed")

    error = read(settings)

    assert isinstance(error, CredentialError)
    assert not error.transient
    assert "AuthorizationFailed" in str(error)
    assert "role" in str(error)


def test_another_refusal_names_the_job_and_the_services_words_and_is_not_tried_again(
    settings: Settings, refuse: Any
) -> None:
    refuse(kind="status", status=400, code="UserError")

    error = read(settings)

    assert isinstance(error, MetricsUnreadable)
    assert not error.transient
    assert JOB in str(error)
    assert "UserError" in str(error)


def test_mlflows_own_refusal_keeps_its_code_and_words(settings: Settings) -> None:
    from finetuning.azure.service_errors import service_errors
    from finetuning.errors import ServiceError

    with pytest.raises(ServiceError) as raised, service_errors("Ask"):
        post(settings, "runs/search", {"experiment_ids": ["0"], "filter": "nonsense ="})

    assert raised.value.code == "INVALID_PARAMETER_VALUE"
    assert "nonsense" in raised.value.message


@pytest.mark.parametrize("fault", [{"kind": "status", "status": 503}, {"kind": "reset_before"}])
def test_a_tracking_service_that_is_away_is_tried_again(
    settings: Settings, refuse: Any, fault: dict[str, object]
) -> None:
    refuse(**fault)

    error = read(settings)

    assert isinstance(error, MetricsUnreadable)
    assert error.transient
    assert JOB in str(error)


def test_a_job_that_logged_nothing_is_told_apart_from_a_service_that_is_away(
    settings: Settings, logged: tuple[str, str]
) -> None:
    assert isinstance(read(settings), ResourceMissing)
    with pytest.raises(ResourceMissing):
        review_metrics.fn(context(settings), logged[0], JOB)


UNATTENDED = """
import os, sys
from finetuning.azure.settings import load_settings
from finetuning.errors import CredentialError
from tests.tasks.test_tracking import context
from tasks.metrics import review_metrics
settings = load_settings()
try:
    review_metrics.fn(context(settings), "experiment", "job")
except CredentialError as error:
    print("CredentialError:", error)
print("mlflow imported:", "mlflow" in sys.modules)
"""
BROKEN: dict[str, dict[str, str]] = {
    "service principal": {
        "FINETUNE_CREDENTIAL": json.dumps(
            {
                "kind": "service_principal",
                "tenant_id": "00000000-0000-0000-0000-000000000000",
                "client_id": "11111111-1111-1111-1111-111111111111",
                "client_secret": "wrong-secret-of-a-principal",
            }
        ),
    },
    "managed identity": {
        "FINETUNE_CREDENTIAL": '{"kind": "managed_identity"}',
        "IDENTITY_HEADER": "wrong",
    },
    "default chain": {"IDENTITY_HEADER": "wrong"},
}


@pytest.mark.parametrize("kind", BROKEN)
def test_a_broken_credential_is_an_error_and_nobody_is_asked_to_log_in(
    emulator: RunningEmulator, tmp_path: Path, kind: str
) -> None:
    opened = tmp_path / "opened"
    browser = tmp_path / "browser"
    browser.write_text(f"#!{sys.executable}\nopen({str(opened)!r}, 'w').close()\n")
    browser.chmod(0o755)

    done = run_python(
        {**emulator.env, **BROKEN[kind], "BROWSER": str(browser)}, "-c", UNATTENDED, seconds=60
    )

    said = done.stdout + done.stderr
    assert "CredentialError: No Azure credential answered" in done.stdout, said
    assert "mlflow imported: False" in done.stdout
    assert not opened.exists()
    assert "devicelogin" not in said and "enter the code" not in said
    assert "wrong-secret-of-a-principal" not in said


def test_a_sound_credential_reads_metrics_without_mlflow(
    emulator: RunningEmulator, logged: tuple[str, str]
) -> None:
    program = (
        "import sys; from finetuning.azure.settings import load_settings;"
        "from finetuning.azure.tracking import find_runs;"
        f"print(len(find_runs(load_settings(), *{logged!r})));"
        "assert not {'mlflow', 'azureml'} & set(sys.modules)"
    )

    done = run_python(emulator.env, "-c", program, seconds=60)

    assert done.stdout.strip() == "2", done.stderr
