"""What the benchmarks ask of a Prefect server, over plain HTTP: no Prefect in this process."""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime
from typing import Any, TypeVar

import httpx

T = TypeVar("T")
BUSY_TIMES = 20


class NeverHappened(RuntimeError):
    """Something was waited for and did not happen in time."""


class PrefectApi:
    """One server's REST API."""

    def __init__(self, http: httpx.Client) -> None:
        self._http = http

    def deployment(self, flow: str, name: str) -> dict[str, Any] | None:
        """Return the deployment, once it is served."""
        answer = self._ask("GET", f"/deployments/name/{flow}/{name}")
        if answer.status_code == 404:
            return None
        found = dict(answer.raise_for_status().json())
        return found if found["status"] == "READY" else None

    def trigger(self, deployment: str, parameters: dict[str, Any]) -> str:
        """Create a run of the deployment and return its id."""
        body = {
            "parameters": parameters,
            "state": {"type": "SCHEDULED"},
            "idempotency_key": uuid.uuid4().hex,  # a repeated request makes no second run
        }
        answer = self._ask("POST", f"/deployments/{deployment}/create_flow_run", json=body)
        return str(answer.raise_for_status().json()["id"])

    def flow_run(self, id_: str) -> dict[str, Any]:
        """Return the flow run."""
        return dict(self._ask("GET", f"/flow_runs/{id_}").raise_for_status().json())

    def states(self, id_: str) -> list[dict[str, Any]]:
        """Return every state that the flow run was in, in order."""
        answer = self._ask("GET", "/flow_run_states/", params={"flow_run_id": id_})
        return sorted(answer.raise_for_status().json(), key=lambda one: str(one["timestamp"]))

    def task_runs(self, id_: str) -> list[dict[str, Any]]:
        """Return the flow run's task runs that have begun, in the order in which they did."""
        body = {"flow_runs": {"id": {"any_": [id_]}}, "limit": 200}
        answer = self._ask("POST", "/task_runs/filter", json=body)
        begun = [one for one in answer.raise_for_status().json() if one["start_time"]]
        return sorted(begun, key=lambda one: str(one["start_time"]))

    def _ask(self, method: str, path: str, **options: Any) -> httpx.Response:
        """Ask, again while the server says that it is busy: SQLite has one writer at a time."""
        for _ in range(BUSY_TIMES):
            answer = self._http.request(method, path, **options)
            if answer.status_code != httpx.codes.SERVICE_UNAVAILABLE:
                break
            time.sleep(1)
        return answer


@contextmanager
def prefect_api(url: str) -> Iterator[PrefectApi]:
    """Yield the API at ``url``, which ends in ``/api``."""
    with httpx.Client(base_url=url, trust_env=False, timeout=60) as http:
        yield PrefectApi(http)


def unix(moment: str) -> float:
    """Return an ISO 8601 moment as unix seconds."""
    return datetime.fromisoformat(moment.replace("Z", "+00:00")).timestamp()


def until(what: str, look: Callable[[], T | None], within_s: float, every_s: float = 0.2) -> T:
    """Return the first true thing that ``look`` sees.

    Raises:
        NeverHappened: it saw none within ``within_s`` seconds.
    """
    deadline = time.monotonic() + within_s
    while time.monotonic() < deadline:
        seen = look()
        if seen:
            return seen
        time.sleep(every_s)
    raise NeverHappened(f"not within {within_s:.0f} s: {what}")
