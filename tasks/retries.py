"""When a task is worth repeating, and the decorator that makes a function such a task.

The SDK repeats a single request already, and honours Retry-After. What is repeated here is a whole
step after an outage that the SDK could not ride out, only that: a permanent error fails at once.
"""

from __future__ import annotations

import socket
from collections.abc import Callable
from functools import wraps
from typing import Any, ParamSpec, TypeVar

import httpx
from prefect import Task
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.objects import State, TaskRun
from prefect.flow_engine import FlowRunTimeoutError
from prefect.settings import get_current_settings

from workspace.client import service_errors
from workspace.errors import FineTuneError

P = ParamSpec("P")
R = TypeVar("R")

DEFAULT_PORTS = {"http": 80, "https": 443}
#: Seconds before each repetition: about five minutes in all, past what the SDK rides out itself.
DELAYS = [2.0, 8.0, 30.0, 90.0, 180.0]


def when_transient(task_: Task[..., Any], task_run: TaskRun, state: State[Any]) -> bool:
    """Tell Prefect whether the same step may succeed in a while."""
    try:
        state.result()
    except FineTuneError as error:
        return error.transient
    except FlowRunTimeoutError:  # a TimeoutError too, but it is the run's own: it ends the run
        return False
    except httpx.HTTPStatusError as error:  # Prefect's server
        return error.response.status_code >= 500
    except (ConnectionError, TimeoutError, httpx.TransportError):
        return True
    except Exception:  # whatever else it was is a defect or bad input: repeating it cannot help
        return False
    return False


class Step(Task[P, R]):
    """A task that also runs while Prefect's server is away.

    Prefect asks the server for a slot of each tag before it runs a task, and the task fails at once
    where nobody answers: a run would lose its night, and its clean-up too, for tags. So without a
    server a step has no tags. What it did is reported when the server is back.
    """

    @property
    def tags(self) -> set[str]:
        return self._tags if server_answers() else set()

    @tags.setter
    def tags(self, tags: set[str]) -> None:
        self._tags = tags


def server_answers() -> bool:
    """Tell whether somebody listens where Prefect's server is; within this process it always does.

    Asked before every step, so it is a connection and no more. Where only a proxy gets through, a
    step has no tags, and nothing else changes.
    """
    address = get_current_settings().api.url
    if address is None:
        return True
    url = httpx.URL(address)
    try:
        with socket.create_connection((url.host, url.port or DEFAULT_PORTS[url.scheme]), 2):
            return True
    except OSError:
        return False


def azure_step(
    name: str, *, tags: set[str], description: str | None = None, **options: Any
) -> Callable[[Callable[P, R]], Task[P, R]]:
    """Make a function a Prefect task that speaks to Azure.

    It is named in the tutorial's words, repeated only when that can help, never cached (its effect
    is in Azure, found again by name), and its errors carry what Azure said.
    """
    settings: dict[str, Any] = {
        "retries": len(DELAYS),
        "retry_delay_seconds": DELAYS,
        "retry_jitter_factor": 0.2,
        "retry_condition_fn": when_transient,
        "cache_policy": NO_CACHE,
        **options,
    }

    def wrap(function: Callable[P, R]) -> Task[P, R]:
        @wraps(function)
        def speaking(*args: P.args, **kwargs: P.kwargs) -> R:
            with service_errors(name):
                return function(*args, **kwargs)

        return Step(
            speaking, name=name, description=description or function.__doc__, tags=tags, **settings
        )

    return wrap
