"""Let a registered model take the traffic of its product endpoint by steps, or give it back."""

from datetime import timedelta

from prefect import flow
from prefect.runtime import flow_run

from finetuning.errors import PromotionError
from finetuning.form.context import RunContext
from finetuning.form.promote import Promote
from finetuning.form.promotion import Promoted
from finetuning.form.run import EndpointChoice
from finetuning.planning.promotion import Target
from flows.lifecycle.context import named_once, own
from flows.lifecycle.promotion import PROMOTING, promote_model
from tasks.connection import find_settings
from tasks.promotion import find_model, product_endpoint, settle_probes, size_of_serving


def run_name() -> str:
    """Return what the UI calls a promotion: model, version, when."""
    given: Promote = flow_run.parameters["promotion"]
    return named_once(f"promote · {given.model}:{given.version}")


@flow(name="promote", flow_run_name=run_name, validate_parameters=True, **PROMOTING)
def promote(promotion: Promote) -> Promoted:
    """Deploy a model beside the old one, and let it take the traffic by steps.

    Raises:
        PromotionError: the old model has all the traffic, and the new one is not deployed any more.
    """
    context = promotion_context(promotion)
    probes = settle_probes(context, promotion)
    model = find_model(context, promotion.model, promotion.version)
    endpoint = product_endpoint(context.settings, promotion.model, promotion.endpoint)
    size = promotion.instance_type or size_of_serving(context, endpoint)
    target = Target(
        endpoint=endpoint,
        model=model,
        choice=deployed_as(promotion, size),
        rules=promotion,
        recipe=promotion.recipe,
        probes=probes,
    )
    promoted = promote_model(context, target)
    if promoted.outcome == "returned":
        raise PromotionError(promoted.why)
    return promoted


def deployed_as(promotion: Promote, size: str) -> EndpointChoice:
    """Return how the candidate is deployed; the deployment's name follows from the endpoint."""
    return EndpointChoice(
        instance_type=size,
        instance_count=promotion.instance_count,
        probe_initial_delay_s=promotion.probe_initial_delay_s,
        request_timeout_ms=promotion.request_timeout_ms,
    )


def promotion_context(promotion: Promote) -> RunContext:
    """Return what the steps are handed; the candidate is wanted until all steps can be over."""
    limits, steps = promotion.deadlines, len(promotion.steps) + 2
    minutes = limits.deployment_minutes * steps + limits.deletion_minutes
    lifetime = timedelta(minutes=minutes + steps * promotion.dwell_minutes)
    return RunContext(
        settings=find_settings(), owner=own("promote", lifetime), deadlines=promotion.deadlines
    )
