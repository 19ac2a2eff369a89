"""The deployment: the fine-tuned model brought up and given the traffic."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from prefect import get_run_logger

from finetuning.azure.client import open_client
from finetuning.azure.service_errors import look_up, refusal_of
from finetuning.errors import DeploymentFailed
from finetuning.form.context import RunContext
from finetuning.planning.plan import Serving
from tasks.endpoint import date_serving, is_settled, resource_state, update_endpoint
from tasks.step import azure_step
from tasks.waiting import Patience, patience, wait_for_operation, wait_until

if TYPE_CHECKING:
    from azure.ai.ml import MLClient
    from azure.ai.ml.entities import ManagedOnlineDeployment

LOG_LINES = 40


@azure_step("Deploy the fine-tuned model")
def deploy_model(
    context: RunContext,
    serving: Serving,
    model: str,
    spending: Callable[[], None] | None = None,
) -> str:
    """Return the name of the deployment that serves the model with all of the traffic.

    ``model`` is the registered model's id. A deployment that an earlier try made is adopted;
    a failed one is replaced under its own name. An endpoint that is to be kept is dated first:
    ``keep_hours`` count from here. ``spending`` is called at every look and may raise
    to end the wait.

    Raises:
        DeploymentFailed: with Azure's reason and the last lines of the deployment's log.
    """
    client = open_client(context.settings)
    wait = replace(patience(context.deadlines, "deployment_minutes"), guard=spending)
    if serving.choice.keep:
        date_serving(client, serving.endpoint, serving.choice.keep_hours, wait)
    bring_up(client, serving, model, context.owner.tags, wait)
    _route_traffic(client, serving, wait)
    return serving.choice.deployment


def bring_up(
    client: MLClient, serving: Serving, model: str, tags: dict[str, str], wait: Patience
) -> None:
    """Have the deployment serve the model, without a word about traffic.

    What an earlier try made is adopted; what failed or serves another model is replaced.

    Raises:
        DeploymentFailed: with Azure's reason and the last lines of the deployment's log.
    """
    name, deployment = serving.choice.deployment, _settled(client, serving, wait)
    if deployment is not None and not _serves(deployment, model):
        state = resource_state(deployment)
        get_run_logger().warning("deployment %s is %s: replaced", name, state)
        operation = client.online_deployments.begin_delete(name, serving.endpoint)
        wait_for_operation(f"Deleting deployment '{name}'", operation, wait)
        deployment = None
    if deployment is None:
        if wait.guard is not None:
            wait.guard()  # what training spent since the last look counts before more is begun
        _create(client, serving, _described(serving, model, tags), wait)


def remove_deployment(client: MLClient, endpoint: str, name: str, wait: Patience) -> None:
    """Delete a deployment that has no traffic and wait until it is gone; gone already is success.

    Raises:
        azure.core.exceptions.HttpResponseError: Azure refused, for example since it has traffic.
    """
    what = f"Deleting deployment '{name}'"

    def get() -> Any | None:
        return look_up(client.online_deployments.get, name, endpoint)

    found = wait_until(f"Deployment '{name}'", get, is_settled, wait)
    if found is not None:
        operation = client.online_deployments.begin_delete(name, endpoint)
        wait_for_operation(what, operation, wait)
        wait_until(what, get, lambda seen: seen is None, wait)


def _serves(deployment: Any, model: str) -> bool:
    return resource_state(deployment) == "succeeded" and _same(deployment.model, model)


def _same(served: Any, model: str) -> bool:
    """Whether a deployment's model is the wanted one; an id may begin in several ways."""
    return str(served).lower().endswith(model.lower().split("/workspaces/")[-1])


def _described(serving: Serving, model: str, tags: dict[str, str]) -> ManagedOnlineDeployment:
    from azure.ai.ml.entities import ManagedOnlineDeployment, OnlineRequestSettings, ProbeSettings

    choice = serving.choice
    return ManagedOnlineDeployment(
        name=choice.deployment,
        endpoint_name=serving.endpoint,
        model=model,
        instance_type=choice.instance_type,
        instance_count=choice.instance_count,
        liveness_probe=ProbeSettings(initial_delay=choice.probe_initial_delay_s),
        request_settings=OnlineRequestSettings(request_timeout_ms=choice.request_timeout_ms),
        tags=tags,
    )


def _create(
    client: MLClient, serving: Serving, deployment: ManagedOnlineDeployment, wait: Patience
) -> None:
    from azure.core.exceptions import HttpResponseError

    name, reason = serving.choice.deployment, "Azure gave no reason."
    try:
        operation = client.online_deployments.begin_create_or_update(deployment)
        wait_for_operation(f"Deployment '{name}'", operation, wait)
    except HttpResponseError as error:
        if error.status_code is not None and error.status_code >= 400:
            raise  # the request itself was refused: its own words, and maybe worth repeating
        reason = refusal_of(error)
    made = _settled(client, serving, replace(wait, guard=None))
    if made is None or resource_state(made) != "succeeded":
        raise DeploymentFailed(serving.endpoint, name, reason, _log_of(client, serving))


def _log_of(client: MLClient, serving: Serving) -> str:
    from azure.core.exceptions import AzureError

    name = serving.choice.deployment
    try:
        return str(client.online_deployments.get_logs(name, serving.endpoint, lines=LOG_LINES))
    except AzureError:  # the log is a comfort, not worth losing the failure's own reason for
        return ""


def _route_traffic(client: MLClient, serving: Serving, wait: Patience) -> None:
    endpoint = client.online_endpoints.get(serving.endpoint)
    traffic = {serving.choice.deployment: 100}
    if endpoint.traffic != traffic:
        endpoint.traffic = traffic
        update_endpoint(client, endpoint, wait)


def _settled(client: MLClient, serving: Serving, wait: Patience) -> Any | None:
    """Return the deployment once nothing is being done to it; None once it is not there."""
    name = serving.choice.deployment
    return wait_until(
        f"Deployment '{name}'",
        lambda: look_up(client.online_deployments.get, name, serving.endpoint),
        is_settled,
        wait,
    )
