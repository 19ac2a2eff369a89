"""An empty flow with as many tasks of the same shape as ``fine_tune``'s: Prefect's own floor.

The tasks do nothing, wait for nothing and return little; they are called, submitted and awaited in
the order in which the fine-tune's are, and have its retries, which Prefect looks at even where
nothing fails.
"""

from __future__ import annotations

from typing import Any

from prefect import Task, flow, task
from prefect.cache_policies import NO_CACHE

from tasks.retries import REPEATED

GATES = 6
#: Tasks up to the job's submission, the endpoint's creation with it; the rest follow one by one.
HEAD = 1 + GATES + 1 + 4 + 1 + 1


def _does_nothing(name: str) -> Task[..., str]:
    @task(name=name, cache_policy=NO_CACHE, **REPEATED)
    def nothing(*_: Any) -> str:
        return name

    return nothing


@flow(name="floor", validate_parameters=True)
def floor(tasks: int = HEAD + 11) -> str:
    """Begin and end so many tasks, as a fine-tune does."""
    _does_nothing("connect")()
    for gate in [_does_nothing(f"gate {number}").submit() for number in range(GATES)]:
        gate.result()
    _does_nothing("publish the plan")()
    compute = _does_nothing("compute").submit()
    prepared = _does_nothing("prepare").submit()
    checked = _does_nothing("check").submit(prepared)
    uploaded = _does_nothing("upload").submit(prepared)
    for future in (compute, prepared, uploaded, checked):
        future.result()
    _does_nothing("submit")()
    endpoint = _does_nothing("endpoint").submit()
    for number in range(tasks - HEAD):
        _does_nothing(f"tail {number}")()
    return str(endpoint.result())
