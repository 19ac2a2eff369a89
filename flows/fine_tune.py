"""Fine-tune a chat model on Azure ML, serve it, ask it questions, and leave nothing running."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta

from prefect import flow, get_run_logger
from prefect.exceptions import Pause
from prefect.runtime import flow_run

from finetuning.azure import naming, ownership
from finetuning.azure.ownership import Ownership
from finetuning.errors import FineTuneError
from finetuning.form.results import Result
from finetuning.form.run import FineTune
from flows.lifecycle.cancellation import end_as_cancelled, watch_for_cancellation
from flows.lifecycle.cleanup import (
    clean_up_cancelled,
    note_that_it_runs_here,
    nothing_left_running,
    take_up_or_clean_up,
)
from flows.lifecycle.events import tell_how_it_ended
from flows.lifecycle.single_owner import step_back_if_begun_elsewhere
from flows.lifecycle.suspension import refuse_to_suspend_alone, suspend_while_training
from flows.plan import settle_plan
from tasks.budget import Spending, report_costs
from tasks.compute import ensure_compute
from tasks.connection import connect, find_settings
from tasks.data import check_prepared_data, preparation
from tasks.data_assets import fetch_data, upload_data
from tasks.deployment import deploy_model
from tasks.endpoint import create_endpoint
from tasks.metrics import review_metrics
from tasks.model import record_lineage, register_model
from tasks.reports import publish_result
from tasks.scoring import test_endpoint
from tasks.training import submit_training, wait_for_training

FLOW = "fine-tune"


def run_name() -> str:
    """Return what the UI calls a run: model, data, when."""
    run: FineTune = flow_run.parameters["run"]
    when = datetime.now(UTC).strftime("%Y-%m-%d %H:%M")
    return (
        f"{run.model.name} · {run.data.dataset.split('/')[-1]} {run.data.percentage:g} % · {when}"
    )


def ownership(run: FineTune) -> Ownership:
    """Return whose this run's resources are, and the tags that say so."""
    flow_run_id = str(flow_run.id)
    key = naming.run_key(flow_run_id, run.key)
    lifetime = timedelta(minutes=run.deadlines.total_minutes)
    if run.endpoint.keep:
        lifetime += timedelta(hours=run.endpoint.keep_hours)
    now = datetime.now(UTC)
    tags = ownership.ownership_tags(FLOW, flow_run_id, key, now, lifetime, keep=run.endpoint.keep)
    return Ownership(flow_run_id=flow_run_id, key=key, tags=tags)


@flow(
    name=FLOW,
    flow_run_name=run_name,
    validate_parameters=True,
    on_running=[step_back_if_begun_elsewhere, note_that_it_runs_here, watch_for_cancellation],
    on_completion=[tell_how_it_ended],
    on_failure=[tell_how_it_ended],
    on_cancellation=[clean_up_cancelled, tell_how_it_ended],
    on_crashed=[take_up_or_clean_up, end_as_cancelled, tell_how_it_ended],
)
def fine_tune(run: FineTune = FineTune()) -> Result:  # noqa: B008  # frozen; the UI's form shows it
    """Fine-tune a model, serve it, ask it questions, and leave nothing running."""
    refuse_to_suspend_alone(run)
    settings = find_settings()
    owner = ownership(run)
    limits = run.deadlines
    connected = connect(settings)
    plan = settle_plan(settings, run, owner)  # every gate; an error anywhere creates nothing

    compute = ensure_compute.submit(settings, run.compute, plan.finetune_sizes, owner, limits)
    prepared = preparation(run.data).submit(run.data, settings)
    checked = check_prepared_data.submit(prepared, plan, run.data.max_bad_share)
    uploaded = upload_data.submit(settings, prepared, owner)
    spending = Spending(settings, plan, run.compute.steps)
    with (
        cost_reported(spending),
        nothing_left_running(settings, run, plan.job, plan.endpoint, owner) as begun,
    ):
        cluster, data, files = compute.result(), prepared.result(), uploaded.result()
        checked.result()  # the last gate: what follows costs
        job = submit_training(
            settings,
            plan.job,
            plan.display_name,
            plan.experiment,
            plan.component,
            plan.model,
            cluster,
            run.compute.steps,
            plan.gpus_per_node,
            files["train_sft"],
            files["test_sft"],
            plan.parameters,
            owner,
        )
        endpoint = create_endpoint.submit(settings, plan.endpoint, owner, limits)
        begun.append(endpoint)
        suspend_while_training(settings, run, job, begun, spending)
        job = wait_for_training(settings, job, limits, spending)
        metrics = review_metrics.submit(connected, plan.experiment, job.name)
        registered = register_model(
            settings, job.name, plan.registered_name, plan.version, plan.model, owner
        )
        spending.serving_began()
        deployment = deploy_model(
            settings, endpoint.result(), run.endpoint, registered.id, owner, limits, spending
        )
        asked = fetch_data(settings, data, "test_gen")
        answers = test_endpoint(
            settings, plan.endpoint, deployment, asked.path, asked.rows, run.test
        )
        reviewed = metrics.result()
    result = Result(
        model=plan.model,
        cluster=cluster,
        data=data,
        parameters=plan.parameters,
        job=job,
        metrics=reviewed,
        registered=registered,
        endpoint=plan.endpoint,
        endpoint_kept=run.endpoint.keep,
        answers=answers,
    )
    record_lineage(settings, result)
    return publish_result(result)


@contextmanager
def cost_reported(spending: Spending) -> Iterator[None]:
    """Report what the run cost, however it ended; a report that fails is only said."""
    try:
        yield
    except Pause:  # suspended while its job trains: not an end
        raise
    except BaseException:
        report_spending(spending)
        raise
    report_spending(spending)


def report_spending(spending: Spending) -> None:
    """Report what has been spent up to now; a report that fails is only said."""
    spending.serving_ended()
    try:
        report_costs(spending)
    except FineTuneError as error:
        get_run_logger().error("the cost could not be reported: %s", error)
