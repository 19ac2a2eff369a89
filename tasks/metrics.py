"""Metrics: read what the training logged, draw its curve."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from prefect import get_run_logger
from prefect.artifacts import create_image_artifact, create_table_artifact

from finetuning.azure.client import open_client
from finetuning.azure.service_errors import first_lines
from finetuning.errors import CredentialError, FineTuneError, MetricsUnreadable, ResourceMissing
from finetuning.form.context import RunContext
from finetuning.form.results import Metrics
from tasks.step import azure_step

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run


NAME = "Review training and evaluation metrics"


CURVES = ("loss", "eval_loss", "learning_rate", "epoch")


#: Codes of Azure's and of MLflow's for what this identity may not do. MLflow's client keeps an
#: answer's body and not its status.
DENIED = {
    "AuthenticationFailed", "AuthorizationFailed", "CUSTOMER_UNAUTHORIZED", "Forbidden",
    "PERMISSION_DENIED", "UNAUTHENTICATED", "Unauthorized",
}  # fmt: skip


@azure_step(NAME)
def review_metrics(context: RunContext, experiment: str, job: str) -> Metrics:
    """Read the curves from the job's child runs and show them; final values go to the result.

    On Azure the pipeline job is a parent run, and the fine-tune step's child run holds the curves.

    Raises:
        ResourceMissing: no run of this job logged a training loss.
        CredentialError, MetricsUnreadable: the tracking service refused, or did not answer.
    """
    from mlflow import MlflowClient

    workspaces = open_client(context.settings).workspaces
    workspace: Any = workspaces.get(context.settings.workspace_name)
    client = MlflowClient(tracking_uri=str(workspace.mlflow_tracking_uri))
    with tracking_errors(job):
        metrics = _read(client, experiment, job)
    _show(metrics)
    return metrics


def preload_tracking() -> None:
    """Import MLflow's client: 5 s, best spent beside another wait."""
    import mlflow  # noqa: F401


@contextmanager
def tracking_errors(job: str) -> Iterator[None]:
    """Turn MLflow's exceptions into ours, with the service's own words.

    MLflow's client has repeated 429 and 5xx itself; what it gives up on is transient.
    """
    from mlflow.exceptions import MlflowException, RestException

    try:
        yield
    except RestException as error:  # the service's answer, which no repetition changes
        raise _refused(job, error.json.get("error") or error.json) from error
    except MlflowException as error:
        message = first_lines(error)
        if error.error_code in DENIED:
            raise _denied(error.error_code, message) from error
        transient = error.get_http_status_code() >= 500
        raise MetricsUnreadable(job, error.error_code, message, transient=transient) from error


def _refused(job: str, answer: dict[str, Any]) -> FineTuneError:
    code = str(answer.get("code") or answer.get("error_code"))
    message = str(answer.get("message") or answer)
    return _denied(code, message) if code in DENIED else MetricsUnreadable(job, code, message)


def _denied(code: str, message: str) -> CredentialError:
    return CredentialError(
        f"{NAME}: Azure ML's tracking service refused ({code}): {message} "
        "Check the role of the credential on this workspace."
    )


def _read(client: MlflowClient, experiment: str, job: str) -> Metrics:
    runs = [run for run in _runs_of(client, experiment, job) if "epoch" in run.data.metrics]
    if runs:
        return _metrics(client, runs[0])
    raise ResourceMissing(
        "Training metrics of job",
        job,
        f"experiment '{experiment}'",
        "Look at the job's log in the studio: did its fine-tune step log anything?",
    )


def _runs_of(client: MlflowClient, experiment: str, job: str) -> list[Run]:
    found = client.get_experiment_by_name(experiment)
    if found is None:
        return []
    return list(client.search_runs([found.experiment_id], f"tags.mlflow.rootRunId='{job}'"))


def _metrics(client: MlflowClient, run: Run) -> Metrics:
    names = [name for name in CURVES if name in run.data.metrics]
    curves = {
        name: sorted((m.step, m.value) for m in client.get_metric_history(run.info.run_id, name))
        for name in names
    }
    return Metrics(final=dict(run.data.metrics), curves=curves)


def _show(metrics: Metrics) -> None:
    log = get_run_logger()
    log.info("training loss %s -> %s", metrics.loss_first, metrics.loss_last)
    create_table_artifact(
        [{"metric": name, "final value": value} for name, value in sorted(metrics.final.items())],
        key="metrics",
        description="Final values of the fine-tune step's metrics",
    )
    create_image_artifact(
        draw(metrics), key="loss-curve", description="Training and evaluation loss by step"
    )


def draw(metrics: Metrics) -> str:
    """Return the loss curves as a PNG in a data URL, which the UI shows without another server."""
    from matplotlib.figure import Figure  # without pyplot: no global state, no display

    figure = Figure(figsize=(7, 4), layout="constrained")
    axes = figure.add_subplot(xlabel="step", ylabel="loss")
    for name, style in (("loss", "-"), ("eval_loss", "o--")):
        points = metrics.curves.get(name, [])
        if points:
            steps, values = zip(*points, strict=True)
            axes.plot(steps, values, style, label=name)
    axes.grid(alpha=0.3)
    axes.legend()
    picture = io.BytesIO()
    figure.savefig(picture, format="png", dpi=110)
    return "data:image/png;base64," + base64.b64encode(picture.getvalue()).decode()
