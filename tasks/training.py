"""Training: submit the pipeline job once, wait for it, say what it did."""

from __future__ import annotations

import json
import math
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, NoReturn

from prefect import get_run_logger
from prefect.artifacts import create_link_artifact

from finetuning.azure.client import open_client, open_registry
from finetuning.azure.naming import attempt_number, first_attempt, job_name, next_attempt
from finetuning.azure.ownership import CAUSE_TAG, CHANGES_TAG, RETRY_TAG, RUN_TAG
from finetuning.azure.run_history import get_steps, run_error
from finetuning.azure.service_errors import look_up, service_errors, state_text
from finetuning.azure.settings import Settings
from finetuning.errors import (
    FineTuneError,
    JobCanceled,
    JobError,
    JobFailed,
    JobNotResponding,
    KeyTaken,
    TrainingHopeless,
)
from finetuning.form.context import RunContext
from finetuning.form.key import asked_tags, differences, says_what_it_stands_for
from finetuning.form.results import Remedy, SubmittedJob
from finetuning.form.run import FineTune, Scalar
from finetuning.planning.findings import Finding, Report
from finetuning.planning.plan import Plan
from finetuning.recipes import recipe_for
from finetuning.training.hopeless import Sign
from tasks.attempts import (
    changes_of,
    has_ended,
    may_be_followed,
    newest_attempt,
    recovering_attempts,
)
from tasks.step import azure_step
from tasks.waiting import patience, wait_until
from tasks.watching import Lookout, Watched, lookout

if TYPE_CHECKING:
    from azure.ai.ml import MLClient

#: A run begins before its job: how far a listing is read past the run's beginning.
BEFORE = timedelta(hours=1)
#: The SDK keeps the pipeline that is being written on one stack of the whole process: of two runs
#: in one process that write theirs at once, either's step would end up in the other's job.
_WRITING = threading.Lock()
LOST, CANCELLING = "NotResponding", "CancelRequested"


@azure_step("Submit the fine-tuning job")
def submit_training(
    context: RunContext,
    plan: Plan,
    cluster: str | None,
    files: Mapping[str, str],
    remedy: Remedy | None = None,
) -> SubmittedJob:
    """Submit the pipeline job under the run's own name, or adopt the one that already bears it.

    A run that was begun again on purpose, after its job had ended without completing, submits the
    next attempt, and so does one with a ``remedy`` for the newest: never while there is one that
    goes on.

    ``cluster`` runs the steps that have no compute of their own. ``files`` are paths in the
    workspace (``azureml:...``) by split.

    Raises:
        KeyTaken: the job that is there was made with other parameters.
    """
    client, planned = open_client(context.settings), plan.job
    name = planned.name
    job = newest_attempt(client, name)
    if job is not None:
        _check_same(job, plan)
        job = _once_cancelled(context, job, remedy)
        if not (may_be_followed(context, job) or _is_remedied(job, remedy)):
            return _adopted(client, job)
        name = next_attempt(str(job.name))
        status = state_text(job.status)
        get_run_logger().info("job %s is %s: %s is the next attempt", job.name, status, name)
    changes = remedy.changes if remedy else {}
    new = _pipeline(context, plan, _inputs(plan, cluster) | changes, files)
    new.name, new.display_name = name, planned.display_name
    retry = {RETRY_TAG: str(context.retries)}
    new.tags = {**context.owner.tags, **retry, **planned.asked, **_settled_tags(plan)}
    if remedy is not None:
        new.tags |= {CAUSE_TAG: remedy.cause, CHANGES_TAG: json.dumps(changes)}
    made = client.jobs.create_or_update(new, experiment_name=planned.experiment)
    return _submitted(client, made, adopted=False)


def _is_remedied(job: Any, remedy: Remedy | None) -> bool:
    """Whether a remedy is for this job: another process may have followed it already."""
    ended = has_ended(state_text(job.status)) and state_text(job.status) != "Completed"
    return remedy is not None and ended and str(job.name) == remedy.after


@azure_step("Gate: the key")
def check_key(settings: Settings, run: FineTune, key: str) -> list[Finding]:
    """Say whether the run's key stands for a job already, and whether that is this run's.

    Only a key that the caller chose can be another run's.
    """
    report = Report("key")
    job = newest_attempt(open_client(settings), job_name(key)) if run.key else None
    if job is None:
        return report.findings
    name, status = str(job.name), state_text(job.status)
    if other := differences(asked_tags(run), job.tags):
        report.error(str(KeyTaken(name, other)), "Choose another run.key.")
    elif not says_what_it_stands_for(job.tags):
        report.warn(
            f"Job '{name}' ({status}) is adopted, and does not say with which parameters it was "
            "made: an earlier version submitted it.",
            "Make sure that they are these, or choose another run.key.",
        )
    elif has_ended(status) and status != "Completed":
        report.warn(
            f"Job '{name}' has this key and these parameters, and is {status}: a new run adopts it "
            "and ends as it did.",
            "Retry the run that submitted it, or choose another run.key.",
        )
    else:
        report.note(f"Job '{name}' ({status}) has this key and these parameters: it is adopted.")
    return report.findings


#: Begins the names of the tags that say to what a label, a branch or a file was settled.
SETTLED = "finetune.settled."


def _settled_tags(plan: Plan) -> dict[str, str]:
    """Return to what the job's labels and sources were settled when it was planned."""
    settled = {"model": plan.job.model.id, "component": plan.job.component, "data": plan.content}
    return {f"{SETTLED}{name}": value for name, value in settled.items() if value}


def _once_cancelled(context: RunContext, job: Any, remedy: Remedy | None) -> Any:
    """Return the job; one that is being cancelled, once it is, if another may follow it."""
    if not (context.retries or remedy) or state_text(job.status) != CANCELLING:
        return job
    _wait_until_ended(context, str(job.name))
    return open_client(context.settings).jobs.get(job.name)


def _check_same(job: Any, plan: Plan) -> None:
    """Raise if the job that is there was made with other parameters than this run's.

    A label or a branch may name another thing than it did then: that is only said.
    """
    name, tags, log = str(job.name), job.tags or {}, get_run_logger()
    if other := differences(plan.job.asked, tags):
        raise KeyTaken(name, other)
    if not says_what_it_stands_for(tags):
        log.warning("job %s does not say with which parameters it was made", name)
    for tag, value in _settled_tags(plan).items():
        if tags.get(tag, value) != value:
            what = tag.removeprefix(SETTLED)
            log.warning("job %s has another %s: %s then, %s now", name, what, tags[tag], value)


def _adopted(client: MLClient, job: Any) -> SubmittedJob:
    status = state_text(job.status)
    get_run_logger().info("job %s is there already (%s): adopted", job.name, status)
    return _submitted(client, job, adopted=True)


def _submitted(client: MLClient, job: Any, *, adopted: bool) -> SubmittedJob:
    first = recovering_attempts(client, str(job.name)) if attempt_number(str(job.name)) > 1 else []
    made = SubmittedJob(
        name=str(job.name),
        status=state_text(job.status),
        studio_url=str(job.studio_url or ""),
        adopted=adopted,
        created=_created(job),
        begun=_created(first[0]) if first else None,
        cause=str((job.tags or {}).get(CAUSE_TAG, "")),
        changes=changes_of(job),
    )
    if made.studio_url:
        create_link_artifact(
            made.studio_url, link_text=f"Job {made.name} in the studio", key="studio-link"
        )
    return made


def _created(job: Any) -> datetime | None:
    found = job.creation_context.created_at if job.creation_context else None
    return found if not isinstance(found, datetime) or found.tzinfo else found.replace(tzinfo=UTC)


def _inputs(plan: Plan, cluster: str | None) -> dict[str, Scalar]:
    """Return the component's inputs: the model, where each step runs, and the parameters."""
    recipe = recipe_for(plan.recipe, plan.data)
    inputs: dict[str, Scalar] = {
        recipe.model_inputs[plan.job.model.type]: plan.job.model.id,
        recipe.gpus_input: plan.job.gpus_per_node,
        **plan.job.parameters,
    }
    for compute in recipe.computes:
        own = plan.compute.choice.steps.of(compute)
        place = own.cluster if own else cluster
        if place is not None:  # else the component's own default, for a compute that no step uses
            inputs[f"compute_{compute}"] = place
        if own and own.instance_type:
            inputs[f"instance_type_{compute}"] = own.instance_type
    return inputs


#: The job's output with its checkpoints, where they are to outlive it.
CHECKPOINTS = "checkpoints"


def _pipeline(
    context: RunContext, plan: Plan, inputs: Mapping[str, Scalar], files: Mapping[str, str]
) -> Any:
    from azure.ai.ml import Input, Output
    from azure.ai.ml.dsl import pipeline

    recipe = recipe_for(plan.recipe, plan.data)
    registry = open_registry(context.settings)
    component = registry.components.get(recipe.component, version=plan.job.component)
    data = {name: Input(type="uri_file", path=files[split]) for name, split in recipe.files.items()}
    recovers = plan.recovery.choice.max_attempts > 1

    @pipeline
    def fine_tune_pipeline() -> dict[str, Any]:
        step = component(**data, **inputs)
        made = {recipe.job_output: step.outputs[recipe.component_output]}
        if recovers:
            made[CHECKPOINTS] = step.outputs[recipe.checkpoints]
        return made

    with _WRITING:
        job: Any = fine_tune_pipeline()
    if recovers:  # one place for all attempts: the next finds what the last one saved
        place = checkpoint_place(context.owner.key)
        job.outputs[CHECKPOINTS] = Output(type="uri_folder", path=place, mode="rw_mount")
    job.settings.force_rerun = True
    job.settings.continue_on_step_failure = False
    return job


def checkpoint_place(key: str) -> str:
    """Return where the attempts of a run keep their checkpoints."""
    return f"azureml://datastores/workspaceblobstore/paths/fine-tune/{key}/checkpoints"


@azure_step("Wait for the fine-tuning job")
def wait_for_training(
    context: RunContext,
    plan: Plan,
    job: SubmittedJob,
    watch: Callable[[], None] | None = None,
    spent: Callable[[], float | None] = lambda: None,
) -> SubmittedJob:
    """Follow the job by its name until it ends; its training is shown while it goes on.

    ``watch`` is called at every look and may raise to end the wait; ``spent`` tells what the run
    has cost by then. The deadline counts from the job's submission, whichever process waits.

    Raises:
        JobFailed, JobCanceled: with the service's own text.
        JobNotResponding: for ``run.deadlines.not_responding_minutes``; it is cancelled.
        TrainingHopeless: its curve says so, and ``run.stop_when`` that this ends it.
        DeadlineExceeded: ``run.deadlines.training_minutes`` have passed.
    """
    client = open_client(context.settings)
    wait = patience(context.deadlines, "training_minutes", interval=math.inf)
    wait = replace(wait, spent=job.age(datetime.now(UTC)), guard=watch)
    silence = _Silence(context.deadlines.not_responding_minutes * 60, wait.now)
    watched = Watched(job, plan, context.owner.flow_run_id, spent)
    with lookout(context.settings, watched) as progress:

        def look() -> str:
            if hopeless := progress.look():
                _give_up(context.settings, job, hopeless, progress)
            return silence.bear(state_text(client.jobs.get(job.name).status))

        status = wait_until(
            f"Job '{job.name}'", look, lambda seen: has_ended(seen) or silence.over, wait
        )
        progress.look()
    if status == LOST:
        cancel_training(context.settings, job.name)
        raise JobNotResponding(
            job.name,
            f"it did not come back within {silence.limit / 60:g} minutes and is cancelled.",
            job.studio_url,
        )
    if status != "Completed":
        raise _failure(context.settings, job, status)
    return job.model_copy(update={"status": status})


def _give_up(settings: Settings, job: SubmittedJob, why: list[Sign], seen: Lookout) -> NoReturn:
    """Cancel a job that leads nowhere, unless it has ended meanwhile, and say so."""
    cancel_training(settings, job.name)
    reason = " ".join([*(sign.what for sign in why), seen.last_values()])
    raise TrainingHopeless(job.name, reason, job.studio_url)


class _Silence:
    """How long a job has not responded; it may come back."""

    def __init__(self, limit: float, now: Callable[[], float]) -> None:
        self.limit, self.now = limit, now
        self.since: float | None = None

    @property
    def over(self) -> bool:
        return self.since is not None and self.now() - self.since > self.limit

    def bear(self, status: str) -> str:
        if status != LOST:
            self.since = None
        elif self.since is None:
            self.since = self.now()
            get_run_logger().warning(
                "the job does not respond; it may come back within %g minutes", self.limit / 60
            )
        return status


@azure_step("Look at the fine-tuning job")
def has_training_ended(settings: Settings, job: str) -> bool:
    """Return whether the job has ended, however it did."""
    return has_ended(state_text(open_client(settings).jobs.get(job).status))


@azure_step("Look which jobs have ended")
def find_ended_jobs(settings: Settings, since: Mapping[str, datetime]) -> list[str]:
    """Return which of these jobs have ended; ``since``: by name, when its run began to wait.

    A job is named by its run's first attempt, and stands for the newest. One listing of what bears
    our tags, newest first, is read no further than to the oldest of them. A job that it does not
    show is asked for by itself; one that is not in this workspace is not answered for.
    """
    client = open_client(settings)
    wanted = dict(since)
    seen: dict[str, str | None] = {}
    oldest = min(wanted.values(), default=None)
    for job in client.jobs.list(tag=RUN_TAG) if oldest else ():
        if (name := first_attempt(str(job.name))) in wanted:
            seen.setdefault(name, state_text(job.status))
        created = _created(job)
        if len(seen) == len(wanted) or (created and oldest and created < oldest - BEFORE):
            break
    missing = {name: _status(newest_attempt(client, name)) for name in wanted if name not in seen}
    return [name for name, status in {**seen, **missing}.items() if has_ended(status)]


def _status(job: Any) -> str | None:
    return None if job is None else state_text(job.status)


def _failure(settings: Settings, job: SubmittedJob, status: str) -> JobError:
    """Build the error of a job that did not complete, with what its failed step said."""
    try:
        with service_errors("Read why the job failed"):
            reason = " ".join(_reasons(settings, job.name)) or f"its status is {status}."
    except FineTuneError as error:  # the job has failed all the same
        reason = f"its status is {status}; why could not be read ({error})."
    kind = JobCanceled if status == "Canceled" else JobFailed
    return kind(job.name, reason, job.studio_url)


def _reasons(settings: Settings, job: str) -> Iterator[str]:
    if text := run_error(settings, job):
        yield text
    for step in get_steps(settings, job):
        if step.status in ("Failed", LOST):
            yield f"step {step.name}: {run_error(settings, step.run)}"


def cancel_training(settings: Settings, job: str) -> bool:
    """Ask Azure to cancel the job, and do not wait; ended or unknown jobs are left alone.

    Return whether there was something to cancel.
    """
    client = open_client(settings)
    status = _status(look_up(client.jobs.get, job))
    if status is None or has_ended(status):
        return False
    return look_up(client.jobs.begin_cancel, job) is not None


@azure_step("Cancel the fine-tuning job")
def stop_job(context: RunContext, job: str) -> bool:
    """Cancel the job and wait until it has ended. Return whether it was still under way.

    Raises:
        DeadlineExceeded: it has not ended within ``run.deadlines.deletion_minutes``.
    """
    if not cancel_training(context.settings, job):
        return False
    _wait_until_ended(context, job)
    get_run_logger().warning("job %s is cancelled", job)
    return True


def _wait_until_ended(context: RunContext, job: str) -> None:
    client = open_client(context.settings)
    wait_until(
        f"Cancelling job '{job}'",
        lambda: state_text(client.jobs.get(job).status),
        has_ended,
        patience(context.deadlines, "deletion_minutes"),
    )
