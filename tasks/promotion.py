"""The promotion: a registered model takes a product endpoint's traffic, or gives it back.

Where the traffic belongs stands in the endpoint's tags, which change in the same request as the
traffic itself. So each step can be repeated, and whoever comes after a dead process knows what to
put back (``finetuning/azure/product.py``).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from prefect import get_run_logger
from prefect.artifacts import create_markdown_artifact

from finetuning.azure import naming
from finetuning.azure.client import open_client
from finetuning.azure.ownership import KEEP_TAG, KEY_TAG, RUN_TAG
from finetuning.azure.product import Product, kept_tags, owned_tags, read_product
from finetuning.azure.service_errors import look_up
from finetuning.azure.settings import Settings
from finetuning.errors import PromotionError, ResourceMissing
from finetuning.evaluation.suites import SHIPPED, Suite, read_suite
from finetuning.form.context import RunContext
from finetuning.form.evaluation import SuiteRules
from finetuning.form.promotion import Promoted, Rollout, StepReport
from finetuning.form.results import RegisteredModel
from finetuning.form.run import FineTune
from finetuning.planning.promotion import Stage, Target
from finetuning.planning.report import table
from tasks.deployment import bring_up, remove_deployment
from tasks.endpoint import remove_endpoint, resource_state, settled_endpoint, update_endpoint
from tasks.evaluation import read_rows
from tasks.probing import Probing, dwelling
from tasks.step import azure_step
from tasks.waiting import BRISK, Patience, patience, wait_until

if TYPE_CHECKING:
    from azure.ai.ml import MLClient


@azure_step("Read the probes")
def settle_probes(context: RunContext, rules: Rollout) -> Suite:
    """Return the questions that watch a promotion: the file's, or those that come along.

    Raises:
        SuiteError: the file is broken; says with which line.
    """
    place = rules.probe_file or str(SHIPPED)
    metric = rules.probe_metric if rules.probe_file else "check"
    lines = read_rows(context.settings, place)
    return read_suite("probes", lines, SuiteRules(metric=metric))


@azure_step("Find the model")
def find_model(context: RunContext, name: str, version: str) -> RegisteredModel:
    """Return a registered model of the workspace.

    Raises:
        ResourceMissing: it has none of this name and version.
    """
    found = look_up(open_client(context.settings).models.get, name, version=version)
    if found is None:
        raise ResourceMissing(
            "Model",
            f"{name}:{version}",
            "the workspace",
            "Register it, or promote another.",
        )
    return RegisteredModel(name=name, version=version, id=str(found.id), adopted=True)


def product_endpoint(settings: Settings, model: str, chosen: str | None) -> str:
    """Return the name of the product endpoint of a registered model."""
    place = f"{settings.subscription_id}/{settings.resource_group}/{settings.workspace_name}"
    return naming.product_name(model, place, chosen)


def product_of(settings: Settings, run: FineTune) -> str:
    """Return the name of the product endpoint onto which a run may promote."""
    model = naming.registered_model_name(run.model.name, run.data.title, run.registered_name)
    return product_endpoint(settings, model, run.promotion.endpoint)


@azure_step("Look at the product endpoint")
def look_at_product(context: RunContext, endpoint: str) -> Product | None:
    """Return what the endpoint serves; None where it is not there or is no product endpoint."""
    return _look(open_client(context.settings), endpoint)


@azure_step("Find the size of what serves")
def size_of_serving(context: RunContext, endpoint: str) -> str:
    """Return the VM size of the deployment that serves.

    Raises:
        PromotionError: nothing serves there, so the size must be chosen.
    """
    client = open_client(context.settings)
    product = _look(client, endpoint)
    served = product.serving if product else ""
    found = look_up(client.online_deployments.get, served, endpoint) if served else None
    if found is None:
        raise PromotionError(
            f"Endpoint '{endpoint}' serves nothing yet, so there is no VM size to take over. "
            "Set instance_type."
        )
    return str(found.instance_type)


def _look(client: MLClient, endpoint: str) -> Product | None:
    found = look_up(client.online_endpoints.get, endpoint)
    return read_product(endpoint, found.tags) if found is not None else None


@azure_step("Begin the promotion")
def begin_promotion(context: RunContext, target: Target) -> Product:
    """Return the product endpoint with the candidate's name in its tags, before that bills.

    An endpoint that is not there is made. What an earlier try of this run began is adopted. The
    deployment that was kept to go back to makes room: there are two.

    Raises:
        PromotionError: the endpoint is no product endpoint, or another run promotes onto it.
    """
    client = open_client(context.settings)
    wait = patience(context.deadlines, "deployment_minutes")
    found = settled_endpoint(client, target.endpoint, wait)
    if found is None:
        found = _make_endpoint(client, context, target.endpoint, wait)
    product = _owned(client, found, context.owner.key)
    if product.serving and _serves(client, product, target.model):
        return product.model_copy(update={"candidate": ""})
    if not product.candidate:
        if product.previous:
            _drop(client, product, product.previous, wait)
        product = product.without(product.previous).trying()
    found = _there(client, target.endpoint, wait)
    found.tags = {**owned_tags(found.tags or {}, context.owner.tags), **product.tags()}
    _route(client, found, product.home, {}, wait)
    return product


def _make_endpoint(client: MLClient, context: RunContext, name: str, wait: Patience) -> Any:
    from azure.ai.ml.entities import ManagedOnlineEndpoint

    tags = {**context.owner.tags, KEEP_TAG: "false", **Product(name=name).tags()}
    made = update_endpoint(
        client, ManagedOnlineEndpoint(name=name, auth_mode="key", tags=tags), wait
    )
    if made is None or resource_state(made) != "succeeded":
        raise PromotionError(f"Endpoint '{name}' could not be created. Start the promotion again.")
    return made


def _there(client: MLClient, endpoint: str, wait: Patience) -> Any:
    found = settled_endpoint(client, endpoint, wait)
    if found is None:
        raise PromotionError(
            f"Endpoint '{endpoint}' was deleted meanwhile. Start the promotion again."
        )
    return found


def _owned(client: MLClient, found: Any, key: str) -> Product:
    product, tags = read_product(str(found.name), found.tags), found.tags or {}
    if product is None:
        raise PromotionError(
            f"Endpoint '{found.name}' exists and is no product endpoint, so it is left alone. "
            "Choose another promotion.endpoint, or leave it empty."
        )
    if product.candidate and tags.get(KEY_TAG) != key:
        get = client.online_deployments.get
        if look_up(get, product.candidate, product.name) is None:  # died before it made one
            return product.without(product.candidate)
        raise PromotionError(
            f"Endpoint '{found.name}' is being promoted onto by the run {tags.get(RUN_TAG)}: its "
            f"candidate is '{product.candidate}'. Wait for its end; after a dead run the reaper "
            "or the flow rollback clears it."
        )
    return product


def _serves(client: MLClient, product: Product, model: RegisteredModel) -> bool:
    found = look_up(client.online_deployments.get, product.serving, product.name)
    wanted = model.id.lower().split("/workspaces/")[-1]
    return found is not None and str(found.model).lower().endswith(wanted)


@azure_step("Deploy the candidate without traffic")
def bring_up_candidate(
    context: RunContext,
    target: Target,
    product: Product,
    spending: Callable[[], None] | None = None,
) -> str:
    """Return the name of the candidate's deployment, which is up and has no traffic.

    Raises:
        DeploymentFailed: with Azure's reason and the last lines of the deployment's log.
    """
    client = open_client(context.settings)
    wait = replace(patience(context.deadlines, "deployment_minutes"), guard=spending)
    serving = target.serving(product.candidate)
    tags = {**context.owner.tags, KEEP_TAG: "false"}
    bring_up(client, serving, target.model.id, tags, wait)
    return product.candidate


@azure_step("Watch the candidate")
def watch_candidate(
    context: RunContext,
    target: Target,
    product: Product,
    stage: Stage,
    spending: Callable[[], None] | None = None,
) -> StepReport:
    """Give the candidate its share of the traffic, and ask both deployments for the dwell time.

    Raises:
        CandidateFailed: too many probes fail, it is slower than it may be, or it answers worse.
        PromotionError: somebody took the candidate away, for example by a rollback.
    """
    client = open_client(context.settings)
    wait = patience(context.deadlines, "deployment_minutes")
    found = _still_tried(client, context, product, wait)
    percent, name = stage.percent, product.candidate
    traffic = {product.serving: 100 - percent, name: percent} if percent else product.home
    _route(client, found, traffic, {name: stage.mirrored}, wait)
    probing = Probing(context.settings, target, product, stage)
    wait_until(
        f"Watching deployment '{name}' at {stage.name}",
        probing.round,
        lambda rounds: probing.over(rounds, target.rules.dwell_minutes * 60),
        dwelling(target, spending),
    )
    return probing.judged()


def _still_tried(client: MLClient, context: RunContext, product: Product, wait: Patience) -> Any:
    found = _there(client, product.name, wait)
    now = read_product(product.name, found.tags)
    mine = not _is_anothers(found, context.owner.key)
    if now is None or now.candidate != product.candidate or not mine:
        raise PromotionError(
            f"Somebody took the candidate '{product.candidate}' of endpoint '{product.name}' away "
            "while it was tried. Start the promotion again if that was not meant."
        )
    return found


@azure_step("Let the candidate serve")
def settle_promotion(context: RunContext, target: Target, product: Product) -> Product:
    """Return the product whose candidate serves, with all of the traffic; safe to repeat.

    What served before is kept, without traffic, until the time in the tags. The endpoint is kept
    on purpose from now on, and says until when.
    """
    client = open_client(context.settings)
    wait = patience(context.deadlines, "deployment_minutes")
    now, rules = datetime.now(UTC), target.rules
    found = settled_endpoint(client, product.name, wait)
    done = read_product(product.name, found.tags) if found is not None else None
    if done is not None and done.serving == product.candidate:  # an earlier try did it
        return done
    found = _still_tried(client, context, product, wait)
    settled = product.settled(now, timedelta(hours=rules.keep_old_hours))
    kept = kept_tags(now, timedelta(days=rules.keep_days))
    found.tags = {**(found.tags or {}), **kept, **settled.tags()}
    _route(client, found, settled.home, {}, wait)
    return settled


@azure_step("Return the traffic")
def return_traffic(context: RunContext, endpoint: str) -> bool:
    """Give all traffic to the deployment that serves; the candidate stays, to be taken up again.

    Returns whether anything had to be returned. What is not this run's is left alone.
    """
    client = open_client(context.settings)
    wait = patience(context.deadlines, "deployment_minutes")
    found = settled_endpoint(client, endpoint, wait)
    product = read_product(endpoint, found.tags) if found is not None else None
    if product is None or not product.candidate or _is_anothers(found, context.owner.key):
        return False
    return _route(client, found, product.home, {}, wait)


@azure_step("Take the candidate away")
def withdraw_candidate(context: RunContext, endpoint: str, key: str | None = None) -> bool:
    """Give all traffic back to what serves and delete this run's candidate; safe to repeat.

    A first promotion has nothing to go back to: its endpoint, which nothing serves, goes too.
    Returns whether there was a candidate of this run's.
    """
    client = open_client(context.settings)
    wait = patience(context.deadlines, "deletion_minutes")
    found = settled_endpoint(client, endpoint, wait)
    product = read_product(endpoint, found.tags) if found is not None else None
    if product is None or _is_anothers(found, key or context.owner.key):
        return False
    if not product.serving:
        return remove_endpoint(client, endpoint, key or context.owner.key, wait)
    if not product.candidate:
        return False
    _drop(client, product, product.candidate, wait)
    get_run_logger().info("candidate %s of %s is gone", product.candidate, endpoint)
    return True


def _is_anothers(found: Any, key: str) -> bool:
    return (found.tags or {}).get(KEY_TAG) != key


@azure_step("Delete a deployment that does not serve")
def retire_deployment(context: RunContext, endpoint: str, deployment: str) -> bool:
    """Delete a product endpoint's deployment, its traffic first given to what serves.

    What serves is never deleted, whatever was found before. Returns whether it was there to delete.
    """
    client = open_client(context.settings)
    wait = patience(context.deadlines, "deletion_minutes")
    found = look_up(client.online_endpoints.get, endpoint)
    product = read_product(endpoint, found.tags) if found is not None else None
    if product is None or deployment == product.serving:
        return False
    if deployment == product.candidate and _is_anothers(found, context.owner.key):
        return False  # another run has begun to try it meanwhile
    _drop(client, product, deployment, wait)
    return True


def _drop(client: MLClient, product: Product, deployment: str, wait: Patience) -> None:
    """Take a deployment's traffic, delete it, and take its name out of the tags, in this order."""
    found = _there(client, product.name, wait)
    if deployment in {**(found.traffic or {}), **(found.mirror_traffic or {})}:
        _route(client, found, product.home, {}, wait)
    remove_deployment(client, product.name, deployment, wait)
    found = _there(client, product.name, wait)
    after = product.without(deployment)
    if after != product:
        found.tags = {**(found.tags or {}), **after.tags()}
        update_endpoint(client, found, wait)


@azure_step("Roll back")
def roll_back_traffic(context: RunContext, endpoint: str, keep_old_hours: float) -> Product:
    """Return the product whose old deployment has all the traffic again: one request.

    The other one is kept for a while. While a candidate is tried, that one loses its traffic.

    Raises:
        PromotionError: it is no product endpoint, or there is nothing to go back to.
    """
    client = open_client(context.settings)
    wait = patience(context.deadlines, "deployment_minutes", interval=BRISK)
    found = settled_endpoint(client, endpoint, wait)
    product = read_product(endpoint, found.tags) if found is not None else None
    if found is None or product is None:
        raise PromotionError(
            f"There is no product endpoint '{endpoint}'. Name one that a promotion made."
        )
    back = product.rolled_back(datetime.now(UTC), timedelta(hours=keep_old_hours))
    there = look_up(client.online_deployments.get, back.serving, endpoint) if back.serving else None
    if there is None or resource_state(there) != "succeeded":
        raise PromotionError(
            f"Endpoint '{endpoint}' has no old deployment to go back to: it is deleted "
            "keep_old_hours after a promotion. Promote the old version again."
        )
    found.tags = {**(found.tags or {}), **back.tags()}
    _route(client, found, back.home, {}, wait)
    return back


def _route(
    client: MLClient, found: Any, traffic: dict[str, int], mirrored: dict[str, int], wait: Patience
) -> bool:
    """Set the endpoint's traffic, and its tags as they are on ``found``, in one request.

    Returns whether the traffic was another before.
    """
    live, shadow = _without_zeroes(traffic), _without_zeroes(mirrored)
    same = (_without_zeroes(found.traffic), _without_zeroes(found.mirror_traffic)) == (live, shadow)
    found.traffic, found.mirror_traffic = live, shadow
    update_endpoint(client, found, wait)
    return not same


def _without_zeroes(shares: Mapping[str, int] | None) -> dict[str, int]:
    return {name: share for name, share in (shares or {}).items() if share}


def publish_promotion(promoted: Promoted) -> Promoted:
    """Write how a promotion ended as an artifact; return it."""
    rows = [
        [
            one.step,
            f"{one.candidate.failed} of {one.candidate.asked}",
            f"{one.candidate.p95:.2f}",
            f"{one.old.p95:.2f}" if one.old else "",
            f"{one.candidate.score:.3f}",
            f"{one.old.score:.3f}" if one.old else "",
        ]
        for one in promoted.steps
    ]
    head = ["step", "failed probes", "p95 (s)", "old p95 (s)", "score", "old score"]
    said = f"# {promoted.model}:{promoted.version} on `{promoted.endpoint}`: {promoted.outcome}"
    text = "\n\n".join(filter(None, [said, promoted.why, table(head, rows) if rows else ""]))
    create_markdown_artifact(text, key="promotion", description=promoted.outcome)
    get_run_logger().info("%s:%s is %s", promoted.model, promoted.version, promoted.outcome)
    return promoted
