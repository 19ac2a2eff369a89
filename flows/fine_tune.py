"""Fine-tune a chat model on Azure ML, serve it, ask it questions, and leave nothing running."""

from prefect import flow, get_run_logger
from prefect.runtime import flow_run
from prefect.utilities.annotations import opaque

from finetuning.errors import NotApproved
from finetuning.form.context import RunContext
from finetuning.form.promotion import Promoted
from finetuning.form.results import Judged, Result, Served, Trained
from finetuning.form.run import FineTune
from finetuning.form.verdict import Verdict
from finetuning.planning.plan import Plan
from finetuning.planning.promotion import Target, may_promote
from finetuning.recipes import recipe_for
from flows.lifecycle.approval import (
    approve_promotion,
    approved_plan,
    asks_for_promotion,
    refuse_to_ask_alone,
)
from flows.lifecycle.cleanup import Guard, guarded
from flows.lifecycle.context import FINE_TUNE, named_once, run_context
from flows.lifecycle.events import tell_of_retirement
from flows.lifecycle.promotion import promote_model
from flows.lifecycle.recovery import train_until_complete
from flows.lifecycle.supervised import SUPERVISED
from flows.lifecycle.suspension import refuse_to_suspend_alone
from tasks.compute import ensure_compute
from tasks.connection import connect
from tasks.data import check_prepared_data, preparation
from tasks.data_assets import fetch_data, upload_data
from tasks.deployment import deploy_model
from tasks.evaluation import (
    ask_suites,
    judge_model,
    keep_judged,
    make_champion,
    recall_judged,
    settle_suites,
)
from tasks.metrics import review_metrics
from tasks.model import record_lineage, register_model
from tasks.plan import settle_plan
from tasks.promotion import look_at_product, product_endpoint, settle_probes
from tasks.recovery import list_attempts
from tasks.reports import publish_result
from tasks.scoring import test_endpoint
from tasks.training import submit_training


def run_name() -> str:
    """Return what the UI calls a run: model, data, when."""
    run: FineTune = flow_run.parameters["run"]
    return named_once(f"{run.model.name} · {run.data.title} {run.data.percentage:g} %")


@flow(name=FINE_TUNE, flow_run_name=run_name, validate_parameters=True, **SUPERVISED)
def fine_tune(run: FineTune = FineTune()) -> Result:  # noqa: B008  # frozen; the UI's form shows it
    """Fine-tune a model, serve it, ask it questions, and leave nothing running."""
    refuse_to_suspend_alone(run.waiting)
    refuse_to_ask_alone(run)
    context = run_context()
    with guarded(context, run) as guard:
        region = connect(context, again=context.begun_before)
        # every gate; an error creates nothing
        plan = settle_plan(context, run, wait_for=[region])
        plan = guard.follow(approved_plan(context, plan))
        tell_of_retirement(plan)
        judged = recall_judged(context) if asks_for_promotion(plan) else None
        trained = guard.note(train(context, plan, guard, then_serve=judged is None))
        judged = judged or serve_and_judge(context, plan, trained, guard)
        guard.note(judged.served), guard.note(judged.verdict)  # a run that goes on recalls them
        promotion = guard.note(promote(context, plan, trained, judged.verdict, guard))
    served = dict(judged.served)
    result = Result(**dict(trained), **served, verdict=judged.verdict, promotion=promotion)
    record_lineage(context.settings, result)
    return publish_result(result)


def train(context: RunContext, plan: Plan, guard: Guard, *, then_serve: bool = False) -> Trained:
    """Train the model and register it; nothing is served.

    ``then_serve``: begin the endpoint, which costs nothing without a deployment, while the job
    trains.
    """
    after_plan = [opaque(plan)]  # of the plan, not of the gates whose facts are in it
    compute = ensure_compute.submit(context, plan.compute, wait_for=after_plan, return_state=False)
    prepared = preparation(plan.data).submit(plan.data, context.settings, plan.content)
    checked = check_prepared_data.submit(prepared, plan)
    suites = settle_suites.submit(context, plan, prepared) if plan.evaluation else None
    uploaded = upload_data.submit(context, prepared)
    cluster, data, files = compute.result(), prepared.result(), uploaded.result()
    checked.result()  # the last gates: what follows costs
    if suites is not None:
        suites.result()
    gated = [compute, uploaded, checked, suites]
    job = submit_training(context, plan, cluster, files, wait_for=gated)
    guard.training_began(job)
    if then_serve:
        guard.begin_endpoint()
    job = train_until_complete(context, plan, job, cluster, files, guard)
    attempts = list_attempts.submit(context, job)
    metrics = review_metrics.submit(
        context, plan.job.experiment, job.name, wait_for=[job], return_state=False
    )
    registered = register_model(context, plan, job.name, wait_for=[job])
    return Trained(
        model=plan.job.model,
        cluster=cluster,
        data=data,
        parameters={**plan.job.parameters, **job.changes},
        job=job,
        attempts=attempts.result(),
        metrics=metrics.result(),
        registered=registered,
    )


def serve(context: RunContext, plan: Plan, trained: Trained, guard: Guard) -> Served:
    """Deploy the registered model with all of the traffic, and ask it questions."""
    begun = guard.begin_endpoint()
    endpoint, model = begun.result(), trained.registered
    guard.serving_began()
    deployment = deploy_model(context, plan.serving, model.id, guard.watch, wait_for=[begun, model])
    asked = fetch_data(context, trained.data, recipe_for(plan.recipe, plan.data).splits.asked)
    answers = test_endpoint(context, plan, deployment, asked, guard.spending)
    return Served(endpoint=endpoint, endpoint_kept=plan.serving.choice.keep, answers=answers)


def serve_and_judge(context: RunContext, plan: Plan, trained: Trained, guard: Guard) -> Judged:
    """Test the model on the run's own endpoint, and say whether it is better than the champion.

    Where a person is asked next, it is kept: the run that goes on with the answer has it.
    """
    served = guard.note(serve(context, plan, trained, guard))
    judged = Judged(served=served, verdict=judge(context, plan, trained, guard))
    return keep_judged(context, judged) if asks_for_promotion(plan) else judged


def judge(context: RunContext, plan: Plan, trained: Trained, guard: Guard) -> Verdict | None:
    """Have the deployed model answer the suites, and say whether it is better than the champion.

    None: the run is not to be evaluated.
    """
    if plan.evaluation is None:
        return None
    suites = settle_suites(context, plan, trained.data)
    ask_suites(context, plan, trained.registered, suites, guard.spending)
    return judge_model(context, plan, trained, suites)


def promote(
    context: RunContext, plan: Plan, trained: Trained, verdict: Verdict | None, guard: Guard
) -> Promoted | None:
    """Let the model take the product endpoint's traffic by steps, where its verdict lets it.

    None: it is not to be promoted. What the run was tested on is deleted first.
    """
    rules, model = plan.promotion, trained.registered
    if rules is None:
        return None
    endpoint = product_endpoint(context.settings, model.name, rules.endpoint)
    if not may_promote(rules.when, verdict, look_at_product(context, endpoint)):
        return None
    if not plan.serving.choice.keep:
        guard.serving_over()
    try:
        approve_promotion(context, plan, verdict)
    except NotApproved as refused:
        get_run_logger().warning("%s", refused)
        return None
    suites = settle_suites(context, plan, trained.data) if plan.evaluation else []
    probes = suites[0] if suites and not rules.probe_file else settle_probes(context, rules)
    target = Target(
        endpoint=endpoint,
        model=model,
        choice=plan.serving.choice,
        rules=rules,
        recipe=plan.recipe,
        probes=probes,
    )
    with guard.promoting():
        promoted = promote_model(context, target, guard.watch)
    if promoted.outcome == "promoted":
        make_champion(context, model)
    return promoted
