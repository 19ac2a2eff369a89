"""When a step is worth repeating, and the decorator that makes a function such a step.

The SDK repeats a single request already, and honours Retry-After. What is repeated here is a whole
step after an outage that the SDK could not ride out, only that: a permanent error fails at once.

Steps have no tags: before a task with tags begins, Prefect asks its server for a slot of each, and
a server that is away or busy would fail or delay it outside its retries.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar

import httpx
from prefect import Task
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.objects import State, TaskRun
from prefect.flow_engine import FlowRunTimeoutError
from prefect.utilities.annotations import quote

from finetuning.azure.service_errors import service_errors
from finetuning.azure.settings import Settings
from finetuning.errors import FineTuneError
from finetuning.form.choice import Choice
from finetuning.form.context import RunContext
from finetuning.planning.facts import Fact

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


#: What a step is handed and does not wait for. Prefect draws a line from whatever a value came of,
#: and every step is handed the connection and the plan, or parts of it.
HANDED = (RunContext, Settings, Fact, Choice)


class Step(Task[P, R]):
    """A task whose lines in the UI lead from what it waits for: results, futures, ``wait_for``."""

    if not TYPE_CHECKING:  # Prefect's own signatures

        def __call__(self, *args: Any, **kwargs: Any) -> Any:
            return super().__call__(*map(_apart, args), **_all_apart(kwargs))

        def submit(self, *args: Any, **kwargs: Any) -> Any:
            return super().submit(*map(_apart, args), **_all_apart(kwargs))


def _apart(value: Any) -> Any:
    """Return what Prefect does not look into (its ``quote``), where a value is only handed."""
    return quote(value) if isinstance(value, HANDED) else value


def _all_apart(values: dict[str, Any]) -> dict[str, Any]:
    return {name: _apart(value) for name, value in values.items()}


def azure_step(
    name: str, description: str | None = None, **options: Any
) -> Callable[[Callable[P, R]], Step[P, R]]:
    """Make a function a step that speaks to Azure.

    It is named in the tutorial's words, repeated only when that can help, never cached (its effect
    is in Azure, found again by name), and its errors carry what Azure said. ``options`` are those
    of Prefect's ``task``.
    """

    def wrap(function: Callable[P, R]) -> Step[P, R]:
        @wraps(function)
        def speaking(*args: P.args, **kwargs: P.kwargs) -> R:
            with service_errors(name):
                return function(*args, **kwargs)

        settings = {**REPEATED, "cache_policy": NO_CACHE, **options}
        about = description or function.__doc__
        return Step(speaking, name=name, description=about, **settings)

    return wrap
