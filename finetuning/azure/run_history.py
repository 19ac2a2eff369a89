"""The run history: a job's steps, and why a run failed, in the service's own words.

The SDK tells a job's status but not its error; the studio reads it from the run history, and so
does this.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any, NamedTuple
from urllib.parse import quote, urlsplit

from finetuning.azure.rest import get_json, get_text, get_workspace, workspace_url
from finetuning.azure.settings import Settings

#: So many characters of a log say why it ended: a stack of calls and its error.
LOG_END = 20_000


class StepRun(NamedTuple):
    """One step of a pipeline job; times in unix seconds, None where it has not come to that."""

    run: str
    name: str
    status: str
    started: float | None
    ended: float | None


def get_steps(settings: Settings, job: str) -> list[StepRun]:
    """Return the steps that a pipeline job has begun or done, those of nested pipelines too.

    The SDK's own listing of them takes a refused discovery document for one without addresses
    (``KeyError: 'api'``), which would end a night's wait without a cause.

    A job that the history does not know (yet) has none.

    Raises:
        azure.core.exceptions.AzureError: the history could not be asked.
    """
    from azure.core.exceptions import HttpResponseError

    try:
        leaves = _leaves(settings, job, depth=3)
    except HttpResponseError as error:
        if error.status_code != 404:
            raise
        return []
    return [
        StepRun(
            run=str(run["runId"]),
            name=str(run.get("displayName") or run["runId"]),
            status=str(run.get("status") or ""),
            started=_seconds(run.get("startTimeUtc")),
            ended=_seconds(run.get("endTimeUtc")),
        )
        for run in leaves
    ]


def _leaves(settings: Settings, run: str, depth: int) -> list[dict[str, Any]]:
    leaves: list[dict[str, Any]] = []
    for child in _children(settings, run):
        nested = str(child.get("runType") or "").endswith("PipelineRun") and depth > 1
        leaves += _leaves(settings, str(child["runId"]), depth - 1) if nested else [child]
    return leaves


def _children(settings: Settings, run: str) -> Iterator[dict[str, Any]]:
    """Yield a run's children, page after page.

    A page names the next by ``nextLink``, or by ``continuationToken`` alone, which goes back as
    ``$continuationtoken`` (azure-rest-api-specs, machinelearningservices/data-plane, 2019-09-30,
    ``runHistory.json``: ``PaginatedRunList``, ``Runs_GetChild``; azure-ai-ml sends it likewise).
    """
    first = f"{history_url(settings)}/runs/{quote(run)}/children"
    place: str | None = first
    seen: set[str] = set()
    while place is not None and place not in seen:
        seen.add(place)
        page = get_json(settings, place)
        yield from page.get("value") or []
        place = _next_page(first, page)


def _next_page(first: str, page: Mapping[str, Any]) -> str | None:
    """Return the address of the next page; a link to another host is not followed."""
    link, token = page.get("nextLink"), page.get("continuationToken")
    if link and urlsplit(str(link))[:2] == urlsplit(first)[:2]:
        return str(link)
    return f"{first}?$continuationtoken={quote(str(token))}" if token else None


def _seconds(text: Any) -> float | None:
    if not text:
        return None
    moment = datetime.fromisoformat(str(text))
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()


@lru_cache
def history_url(settings: Settings) -> str:
    """Return the workspace's address at the run history, as its discovery document tells it."""
    discovery = str(get_workspace(settings)["properties"]["discoveryUrl"])
    api = str(get_json(settings, discovery)["api"]).rstrip("/")
    path = workspace_url(settings).split("/subscriptions/", 1)[1]
    return f"{api}/history/v1.0/subscriptions/{path}"


def run_end(settings: Settings, run: str) -> float | None:
    """Return when a run ended, in unix seconds; None where the history does not say.

    Raises:
        azure.core.exceptions.AzureError: the history could not be asked.
    """
    from azure.core.exceptions import HttpResponseError

    try:
        details = get_json(settings, f"{history_url(settings)}/runs/{quote(run)}/details")
    except HttpResponseError as error:
        if error.status_code != 404:
            raise
        return None
    return _seconds(details.get("endTimeUtc"))


def run_error(settings: Settings, run: str) -> str:
    """Return the error text of a run, or an empty string where the service gave none.

    Raises:
        azure.core.exceptions.AzureError: the history could not be asked.
    """
    return _error(get_json(settings, f"{history_url(settings)}/runs/{quote(run)}/details"))


def why_it_failed(settings: Settings, run: str) -> tuple[str, str]:
    """Return the error text of a run, and the end of what its program printed; each may be empty.

    Raises:
        azure.core.exceptions.AzureError: the history, or the store of logs, could not be asked.
    """
    details = get_json(settings, f"{history_url(settings)}/runs/{quote(run)}/details")
    logs = details.get("logFiles") or {}
    printed = [str(address) for name, address in sorted(logs.items()) if _is_printed(name)]
    return _error(details), "\n".join(get_text(address)[-LOG_END:] for address in printed)


def _is_printed(log: str) -> bool:
    """Whether a log is what a program printed: ``user_logs/std_log.txt``, one a node."""
    return log.startswith("user_logs/")


def _error(details: Mapping[str, Any]) -> str:
    error = (details.get("error") or {}).get("error") or details.get("error") or {}
    message = str(error.get("message") or "")
    code = str(error.get("code") or "")
    return f"{code}: {message}" if code and message else message
