"""The workspace's MLflow, asked over plain REST with the run's own credential.

Azure's plugin of MLflow's client (azureml-mlflow 1.62) builds a chain of credentials of its own,
which ends in a device code or a browser that nobody sits before, and takes 5 s to import. MLflow's
REST API is documented (https://mlflow.org/docs/latest/api_reference/rest-api.html); Azure serves it
below the address that the workspace names, for the same token as Azure Resource Manager's.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from typing import Any, NamedTuple
from urllib.parse import urlencode

from finetuning.azure.rest import ask_json, get_json, get_workspace
from finetuning.azure.settings import Settings


class Logged(NamedTuple):
    """A value of a metric: at which step, and when (unix seconds)."""

    step: int
    value: float
    time: float


class TrackedRun(NamedTuple):
    """A run, and the last value of each of its metrics."""

    run: str
    metrics: dict[str, float]


@lru_cache
def tracking_url(settings: Settings) -> str:
    """Return the address of the workspace's MLflow REST API."""
    address = str(get_workspace(settings)["properties"]["mlFlowTrackingUri"])
    return f"https://{address.split('://', 1)[1].rstrip('/')}/api/2.0/mlflow"


def find_runs(settings: Settings, experiment: str, job: str) -> list[TrackedRun]:
    """Return the runs of the experiment that belong to a pipeline job; none if it has none.

    Raises:
        azure.core.exceptions.AzureError: the service refused, or did not answer.
    """
    id_ = _experiment_id(settings, experiment)
    if id_ is None:
        return []
    wanted = {"experiment_ids": [id_], "filter": f"tags.mlflow.rootRunId='{job}'"}
    return [_run(one) for page in _pages(settings, wanted) for one in page.get("runs") or []]


def _experiment_id(settings: Settings, name: str) -> str | None:
    from azure.core.exceptions import HttpResponseError

    query = urlencode({"experiment_name": name})
    try:
        found = get_json(settings, f"{tracking_url(settings)}/experiments/get-by-name?{query}")
    except HttpResponseError as error:
        if error.status_code == 404:
            return None
        raise
    return str(found["experiment"]["experiment_id"])


def _pages(settings: Settings, wanted: dict[str, Any]) -> Iterator[dict[str, Any]]:
    page = ask_json(settings, "POST", f"{tracking_url(settings)}/runs/search", wanted)
    yield page
    while token := page.get("next_page_token"):
        more = {**wanted, "page_token": token}
        page = ask_json(settings, "POST", f"{tracking_url(settings)}/runs/search", more)
        yield page


def _run(found: dict[str, Any]) -> TrackedRun:
    metrics = found.get("data", {}).get("metrics") or []
    values = {str(one["key"]): float(one["value"]) for one in metrics}
    return TrackedRun(str(found["info"]["run_id"]), values)


def last_logged(settings: Settings, run: str) -> dict[str, Logged]:
    """Return the newest value of each of a run's metrics; none where it has logged nothing yet.

    Raises:
        azure.core.exceptions.AzureError: the service refused, or did not answer.
    """
    from azure.core.exceptions import HttpResponseError

    try:
        found = get_json(
            settings, f"{tracking_url(settings)}/runs/get?{urlencode({'run_id': run})}"
        )
    except HttpResponseError as error:
        if error.status_code != 404:
            raise
        return {}
    metrics = (found.get("run") or {}).get("data", {}).get("metrics") or []
    return {str(one["key"]): _logged(one) for one in metrics}


def _logged(one: dict[str, Any]) -> Logged:
    """MLflow counts milliseconds."""
    when = float(one.get("timestamp") or 0) / 1000
    return Logged(int(one.get("step") or 0), float(one["value"]), when)


def metric_history(settings: Settings, run: str, metric: str) -> list[tuple[int, float]]:
    """Return what a run logged of a metric: step and value, by step.

    Raises:
        azure.core.exceptions.AzureError: the service refused, or did not answer.
    """
    return sorted((one.step, one.value) for one in logged_values(settings, run, metric))


def logged_values(settings: Settings, run: str, metric: str) -> list[Logged]:
    """Return what a run logged of a metric, in the order in which the service lists it.

    Raises:
        azure.core.exceptions.AzureError: the service refused, or did not answer.
    """
    asked = {"run_id": run, "metric_key": metric}
    points: list[Logged] = []
    token = ""
    while True:
        query = urlencode({**asked, "page_token": token} if token else asked)
        page = get_json(settings, f"{tracking_url(settings)}/metrics/get-history?{query}")
        points += [_logged(one) for one in page.get("metrics") or []]
        token = str(page.get("next_page_token") or "")
        if not token:
            return points
