"""When a step is worth repeating, and the decorator that makes a function such a step.

The SDK repeats a single request already, and honours Retry-After. What is repeated here is a whole
step after an outage that the SDK could not ride out, only that: a permanent error fails at once.

Steps have no tags: before a task with tags begins, Prefect asks its server for a slot of each, and
a server that is away or busy would fail or delay it outside its retries.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any, ParamSpec, TypeVar

import httpx
from prefect import Task, task
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.objects import State, TaskRun
from prefect.flow_engine import FlowRunTimeoutError

from finetuning.azure.service_errors import service_errors
from finetuning.errors import FineTuneError

P = ParamSpec("P")
R = TypeVar("R")

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


#: How a step is repeated: only where that can help. Prefect's own options of a task. Nothing is
#: kept of it, which Prefect would otherwise pickle wherever a storage of results is configured.
REPEATED: dict[str, Any] = {
    "retries": len(DELAYS),
    "retry_delay_seconds": DELAYS,
    "retry_jitter_factor": 0.2,
    "retry_condition_fn": when_transient,
    "persist_result": False,
}


def azure_step(
    name: str, description: str | None = None, **options: Any
) -> Callable[[Callable[P, R]], Task[P, R]]:
    """Make a function a step that speaks to Azure.

    It is named in the tutorial's words, repeated only when that can help, never cached (its effect
    is in Azure, found again by name), and its errors carry what Azure said. ``options`` are those
    of Prefect's ``task``.
    """

    def wrap(function: Callable[P, R]) -> Task[P, R]:
        @wraps(function)
        def speaking(*args: P.args, **kwargs: P.kwargs) -> R:
            with service_errors(name):
                return function(*args, **kwargs)

        settings = {**REPEATED, "cache_policy": NO_CACHE, **options}
        return task(name=name, description=description or function.__doc__, **settings)(speaking)

    return wrap
