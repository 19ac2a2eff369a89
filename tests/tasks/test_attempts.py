"""The attempts of a run: who submits another, who adopts, and who finds the newest."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from prefect import flow
from prefect.logging import disable_run_logger

from finetuning.azure.client import open_client
from finetuning.azure.naming import job_name, next_attempt, run_key
from finetuning.azure.ownership import RETRY_TAG, Ownership, ownership_tags
from finetuning.azure.service_errors import state_text
from finetuning.azure.settings import Settings, load_settings
from finetuning.errors import KeyTaken
from finetuning.form.context import RunContext
from finetuning.form.results import Remedy, SubmittedJob
from finetuning.form.run import Deadlines, FineTune
from finetuning.planning.plan import Plan
from flows.lifecycle.cleanup import clean_up, made_by
from flows.lifecycle.events import run_of_job
from tasks.attempts import newest_attempt
from tasks.orphans import find_jobs
from tasks.suspended import SuspendedRun, find_overdue
from tasks.training import check_key, find_ended_jobs, submit_training
from tests.conftest import RunningEmulator, environment
from tests.tasks.test_run_key import data_asset, form, planned

MINE, OTHERS = str(uuid.uuid4()), str(uuid.uuid4())


class Run:
    """A run of one key whose jobs wait for ever, on a cluster of no nodes."""

    def __init__(self, settings: Settings, cluster: str, file: str) -> None:
        self.settings, self.cluster, self.file = settings, cluster, file
        self.form: FineTune = form(uuid.uuid4().hex)
        self.key = run_key("", self.form.key)
        self.first = job_name(self.key)
        self.plan: Plan = planned(settings, self.form)

    def context(self, retries: int, owner: str) -> RunContext:
        now, hour = datetime.now(UTC), timedelta(hours=1)
        tags = ownership_tags("fine-tune", owner, self.key, now, hour)
        return RunContext(
            settings=self.settings,
            owner=Ownership(flow_run_id=owner, key=self.key, tags=tags),
            deadlines=Deadlines(poll_seconds=0.2, deletion_minutes=1),
            retries=retries,
        )

    def submit(
        self, retries: int = 0, owner: str = MINE, remedy: Remedy | None = None
    ) -> SubmittedJob:
        """What a run that was retried so often, or recovers so, submits or adopts."""
        return submitting(
            self.context(retries, owner),
            self.plan,
            self.cluster,
            {"train_sft": self.file, "test_sft": self.file},
            remedy,
        )

    def cancel(self, job: str) -> None:
        open_client(self.settings).jobs.begin_cancel(job).wait()
        assert self.status(job) == "Canceled"

    def status(self, job: str) -> str:
        return str(state_text(open_client(self.settings).jobs.get(job).status))

    def tags(self, job: str) -> dict[str, str]:
        return dict(open_client(self.settings).jobs.get(job).tags or {})


@flow
def submitting(
    context: RunContext,
    plan: Plan,
    cluster: str,
    files: dict[str, str],
    remedy: Remedy | None = None,
) -> SubmittedJob:
    return submit_training(context, plan, cluster, files, remedy)


@pytest.fixture(scope="module")
def settings(shared_emulator: RunningEmulator, prefect_server: None) -> Iterator[Settings]:
    with environment(shared_emulator.env):
        yield load_settings()


@pytest.fixture(scope="module")
def cluster(settings: Settings) -> str:
    """A cluster of no nodes."""
    from azure.ai.ml.entities import AmlCompute

    name = f"empty-{uuid.uuid4().hex[:8]}"
    made = AmlCompute(name=name, size="Standard_ND40rs_v2", tier="dedicated", max_instances=0)
    open_client(settings).compute.begin_create_or_update(made).wait()
    return name


@pytest.fixture
def run(settings: Settings, cluster: str, tmp_path: Path) -> Iterator[Run]:
    """A run whose first job is cancelled."""
    with environment({"PREFECT_LOCAL_STORAGE_PATH": str(tmp_path)}):
        found = Run(settings, cluster, data_asset(settings))
        assert found.submit().name == found.first
        found.cancel(found.first)
        yield found
    newest = newest_attempt(open_client(settings), found.first)
    if found.status(newest.name) != "Canceled":
        found.cancel(newest.name)


def test_a_restart_adopts_a_job_that_did_not_complete(run: Run) -> None:
    found = run.submit()

    assert (found.name, found.adopted, found.status) == (run.first, True, "Canceled")


def test_a_retry_submits_the_next_attempt_with_the_runs_own_tags(run: Run) -> None:
    found = run.submit(retries=1)

    assert (found.name, found.adopted) == (f"{run.first}-2", False)
    tags = run.tags(found.name)
    assert tags.pop(RETRY_TAG) == "1"
    before = run.tags(run.first)
    assert before.pop(RETRY_TAG) == "0"
    assert {name for name in tags if tags[name] != before[name]} <= {
        "finetune.created", "finetune.expires",
    }  # fmt: skip


def test_a_retry_that_is_restarted_adopts_its_own_attempt_however_that_ended(run: Run) -> None:
    second = run.submit(retries=1).name

    going_on = run.submit(retries=1)
    run.cancel(second)
    ended = run.submit(retries=1)

    assert (going_on.name, going_on.adopted) == (second, True)
    assert (ended.name, ended.adopted, ended.status) == (second, True, "Canceled")


def test_a_remedy_is_followed_once_and_said_on_the_job(run: Run) -> None:
    changes = {"per_device_train_batch_size": 1, "gradient_accumulation_steps": 2}
    remedy = Remedy(after=run.first, cause="out of memory", changes=changes)

    second = run.submit(remedy=remedy)
    again = run.submit(remedy=remedy)  # by a process that did not know of the first
    restarted = run.submit()

    assert (second.name, second.adopted) == (f"{run.first}-2", False)
    assert second.begun == run.submit().begun != second.created
    for found in (again, restarted):
        assert (found.name, found.adopted) == (second.name, True)
        assert (found.cause, found.changes) == ("out of memory", changes)


def test_a_job_that_goes_on_is_not_followed_by_a_remedy_of_another(run: Run) -> None:
    second = run.submit(remedy=Remedy(after=run.first, cause="transient"))

    found = run.submit(remedy=Remedy(after=second.name, cause="transient"))

    assert (found.name, found.adopted) == (second.name, True)


def test_never_are_there_two_at_a_time(run: Run) -> None:
    second = run.submit(retries=1).name

    found = run.submit(retries=2)

    assert (found.name, found.adopted) == (second, True)
    run.cancel(second)
    assert run.submit(retries=2).name == f"{run.first}-3"


def test_a_retry_follows_a_job_that_another_run_of_the_same_key_submitted(run: Run) -> None:
    assert run.submit(owner=OTHERS).adopted
    assert run.submit(retries=1, owner=OTHERS).name == f"{run.first}-2"


def test_a_retry_with_other_parameters_submits_nothing(run: Run, settings: Settings) -> None:
    changed = planned(settings, form(uuid.uuid4().hex, parameters={"num_train_epochs": 7}))
    job = changed.job.model_copy(update={"name": run.first})
    run.plan = changed.model_copy(update={"job": job})

    with pytest.raises(KeyTaken):
        run.submit(retries=1)

    assert newest_attempt(open_client(settings), run.first).name == run.first


def test_the_plan_of_a_new_run_says_that_the_keys_job_did_not_complete(run: Run) -> None:
    (found,) = check_key.fn(run.settings, run.form, run.key)

    assert found.level == "warning"
    assert run.first in found.what and "Canceled" in found.what
    assert "Retry the run" in found.change


def test_the_clean_up_cancels_the_newest_attempt(run: Run) -> None:
    second = run.submit(retries=1).name
    context, made = run.context(0, MINE), made_by(run.form, run.key)

    @flow
    def cleaning() -> list[str]:
        from prefect import get_run_logger

        return clean_up(context, made, [], get_run_logger())

    assert cleaning() == []
    assert run.status(second) == "Canceled"


def test_the_reaper_finds_every_attempt_that_goes_on(run: Run) -> None:
    second = run.submit(retries=1).name

    with disable_run_logger():
        found = {one.name: one for one in find_jobs.fn(run.settings).found}

    assert run.first not in found
    assert found[second].flow_run_id == MINE and found[second].key == run.key


def test_a_suspended_run_is_woken_by_its_newest_attempt(run: Run) -> None:
    since = {run.first: datetime.now(UTC)}
    assert find_ended_jobs.fn(run.settings, since) == [run.first]

    second = run.submit(retries=1).name

    assert find_ended_jobs.fn(run.settings, since) == []
    run.cancel(second)
    assert find_ended_jobs.fn(run.settings, since) == [run.first]
    long_ago = {run.first: datetime.now(UTC) + timedelta(days=1)}  # the listing ends before it
    assert find_ended_jobs.fn(run.settings, long_ago) == [run.first]


def test_the_poller_cancels_the_newest_attempt_of_a_run_that_is_over_budget(run: Run) -> None:
    second = run.submit(retries=1).name
    waits = SuspendedRun(
        flow_run_id=MINE,
        name="waits",
        job=run.first,
        since=datetime.now(UTC),
        training=timedelta(hours=1),
        plan=run.plan.model_copy(update={"budget": -1.0}),  # nothing is more than that
    )

    with disable_run_logger():
        assert list(find_overdue.fn(run.settings, [waits], datetime.now(UTC))) == [run.first]

    assert run.status(second) in ("CancelRequested", "Canceled")


def test_an_event_about_any_attempt_is_its_runs(run: Run) -> None:
    tags: Any = run.tags(run.first)

    assert str(run_of_job(run.first, tags)) == MINE
    assert str(run_of_job(next_attempt(run.first), tags)) == MINE
    assert run_of_job(f"{run.first}-step", tags) is None
