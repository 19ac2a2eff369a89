"""Metrics: read what the training logged, draw its curve."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

from prefect import get_run_logger
from prefect.artifacts import create_image_artifact, create_table_artifact

from finetuning.azure.service_errors import service_errors
from finetuning.azure.settings import Settings
from finetuning.azure.tracking import find_runs, metric_history
from finetuning.errors import MetricsUnreadable, ResourceMissing, ServiceError
from finetuning.form.context import RunContext
from finetuning.form.results import Metrics
from finetuning.training.curve import CURVES
from tasks.step import azure_step

NAME = "Review training and evaluation metrics"


@azure_step(NAME)
def review_metrics(context: RunContext, experiment: str, job: str) -> Metrics:
    """Read the curves from the job's child runs and show them; final values go to the result.

    On Azure the pipeline job is a parent run, and the fine-tune step's child run holds the curves.

    Raises:
        ResourceMissing: no run of this job logged a training loss.
        CredentialError, MetricsUnreadable: the tracking service refused, or did not answer.
    """
    settings = context.settings
    with tracking_errors(job):
        metrics = _read(settings, experiment, job)
    _show(metrics)
    return metrics


@contextmanager
def tracking_errors(job: str) -> Iterator[None]:
    """Say of which job the metrics could not be read; a refused credential stays one."""
    try:
        with service_errors(NAME):
            yield
    except ServiceError as error:
        raise MetricsUnreadable(
            job, error.code, error.message, transient=error.transient
        ) from error


def _read(settings: Settings, experiment: str, job: str) -> Metrics:
    for run in find_runs(settings, experiment, job):
        if "epoch" in run.metrics:
            names = [name for name in CURVES if name in run.metrics]
            curves = {name: metric_history(settings, run.run, name) for name in names}
            return Metrics(final=run.metrics, curves=curves)
    raise ResourceMissing(
        "Training metrics of job",
        job,
        f"experiment '{experiment}'",
        "Look at the job's log in the studio: did its fine-tune step log anything?",
    )


def _show(metrics: Metrics) -> None:
    log = get_run_logger()
    log.info("training loss %s -> %s", metrics.loss_first, metrics.loss_last)
    create_table_artifact(
        [{"metric": name, "final value": value} for name, value in sorted(metrics.final.items())],
        key="metrics",
        description="Final values of the fine-tune step's metrics",
    )
    create_image_artifact(
        draw(metrics.curves), key="loss-curve", description="Training and evaluation loss by step"
    )


def draw(curves: Mapping[str, Sequence[tuple[int, float]]]) -> str:
    """Return the loss curves as a PNG in a data URL, which the UI shows without another server."""
    from matplotlib.figure import Figure  # without pyplot: no global state, no display

    figure = Figure(figsize=(7, 4), layout="constrained")
    axes = figure.add_subplot(xlabel="step", ylabel="loss")
    for name, style in (("loss", "-"), ("eval_loss", "o--")):
        points = curves.get(name, [])
        if points:
            steps, values = zip(*points, strict=True)
            axes.plot(steps, values, style, label=name)
    axes.grid(alpha=0.3)
    if axes.get_lines():
        axes.legend()
    picture = io.BytesIO()
    figure.savefig(picture, format="png", dpi=110)
    return "data:image/png;base64," + base64.b64encode(picture.getvalue()).decode()
