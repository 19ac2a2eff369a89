"""The flow's two halves, each alone: what is trained is served by another run, or never."""

from __future__ import annotations

import uuid

import pytest
from prefect import flow

from finetuning.form.results import Result, Served, Trained
from finetuning.form.run import FineTune
from flows.fine_tune import serve, train
from flows.lifecycle.cleanup import guarded
from tasks.plan import settle_plan
from tasks.reports import publish_result
from tests.conftest import RunningEmulator
from tests.support.runs import context_of, names, small

pytestmark = pytest.mark.slow


@flow
def only_trained(run: FineTune) -> Result:
    context = context_of(run)
    with guarded(context, run) as guard:
        plan = guard.follow(settle_plan(context, run))
        trained = train(context, plan, guard)
    return publish_result(Result(**dict(trained)))


@flow
def only_served(run: FineTune, trained: Trained) -> Served:
    context = context_of(run)
    with guarded(context, run) as guard:
        plan = guard.follow(settle_plan(context, run))
        return serve(context, plan, trained, guard)


def test_what_is_trained_alone_is_registered_and_another_run_serves_it(
    stage: RunningEmulator,
) -> None:
    run, other = small(uuid.uuid4().hex), small(uuid.uuid4().hex)
    before = stage.requests()[-1]["index"] if stage.requests() else 0

    trained = only_trained(run)

    asked = stage.requests(after=before)
    assert [
        one for one in asked if "onlineEndpoints" in one["path"] and one["method"] == "PUT"
    ] == []
    assert trained.registered.name and trained.metrics.loss_last is not None
    assert (trained.endpoint, trained.answers) == (None, [])

    served = only_served(other, trained)

    assert served.endpoint == names(other).endpoint
    assert served.answers[0].answer.strip()
    assert stage.summary()["endpoints"] == []
