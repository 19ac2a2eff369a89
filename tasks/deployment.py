"""The deployment: the fine-tuned model brought up and given the traffic."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from prefect import get_run_logger

from finetuning.azure.client import open_client
from finetuning.azure.ownership import Ownership
from finetuning.azure.service_errors import service_errors
from finetuning.azure.settings import Settings
from finetuning.errors import (
    DeploymentFailed,
)
from finetuning.form.run import Deadlines, EndpointChoice
from tasks.endpoint import MOVING, _patience, _settled_endpoint, _state
from tasks.step import azure_step
from tasks.waiting import Patience, wait_until

if TYPE_CHECKING:
    from azure.ai.ml import MLClient


LOG_LINES = 40


@azure_step("Deploy the fine-tuned model")
def deploy_model(
    settings: Settings,
    endpoint: str,
    choice: EndpointChoice,
    model: str,
    owner: Ownership,
    deadlines: Deadlines,
    spending: Callable[[], None] | None = None,
) -> str:
    """Return the name of the deployment that serves the model with all of the traffic.

    ``model`` is the registered model's id. A deployment that an earlier try made is adopted;
    a failed one is replaced under its own name. ``spending`` is called at every look and may raise
    to end the wait.

    Raises:
        DeploymentFailed: with Azure's reason and the last lines of the deployment's log.
    """
    client = open_client(settings)
    patience = _patience(deadlines, "deployment_minutes")
    found = _settled_deployment(client, endpoint, choice.deployment, patience)
    if found is not None and (_state(found) != "succeeded" or not _same(found.model, model)):
        get_run_logger().warning("deployment %s is %s: replaced", found.name, _state(found))
        client.online_deployments.begin_delete(choice.deployment, endpoint).wait(patience.deadline)
        found = None
    if found is None:
        _create_deployment(client, endpoint, choice, model, owner, patience, spending)
    _route_traffic(client, endpoint, choice.deployment, patience)
    return choice.deployment


def _create_deployment(
    client: MLClient,
    endpoint: str,
    choice: EndpointChoice,
    model: str,
    owner: Ownership,
    patience: Patience,
    spending: Callable[[], None] | None,
) -> None:
    from azure.ai.ml.entities import ManagedOnlineDeployment, OnlineRequestSettings, ProbeSettings
    from azure.core.exceptions import HttpResponseError

    if spending is not None:
        spending()  # what training spent since the last look counts before more is begun
    deployment = ManagedOnlineDeployment(
        name=choice.deployment,
        endpoint_name=endpoint,
        model=model,
        instance_type=choice.instance_type,
        instance_count=choice.instance_count,
        liveness_probe=ProbeSettings(initial_delay=choice.probe_initial_delay_s),
        request_settings=OnlineRequestSettings(request_timeout_ms=choice.request_timeout_ms),
        tags=owner.tags,
    )
    reason = "Azure gave no reason."
    try:
        coming = client.online_deployments.begin_create_or_update(deployment)

        def look() -> bool:
            if spending is not None:
                spending()
            return bool(coming.done())

        # The pause ends with the operation, which its own thread watches.
        watching = replace(patience, sleep=coming.wait)
        wait_until(f"Deployment '{choice.deployment}'", look, bool, watching)
        coming.wait()  # raises what the operation ended with
    except HttpResponseError as error:
        if error.status_code is not None and error.status_code >= 400:
            raise  # the request itself was refused: its own words, and maybe worth repeating
        reason = str(error.message)
    made = _settled_deployment(client, endpoint, choice.deployment, patience)
    if made is None or _state(made) != "succeeded":
        raise DeploymentFailed(
            endpoint, choice.deployment, reason, _log_of(client, endpoint, choice)
        )


def _log_of(client: MLClient, endpoint: str, choice: EndpointChoice) -> str:
    from azure.core.exceptions import AzureError

    try:
        return str(client.online_deployments.get_logs(choice.deployment, endpoint, lines=LOG_LINES))
    except AzureError:  # the log is a comfort, not worth losing the failure's own reason for
        return ""


def _route_traffic(client: MLClient, endpoint: str, deployment: str, patience: Patience) -> None:
    found = client.online_endpoints.get(endpoint)
    if found.traffic != {deployment: 100}:
        found.traffic = {deployment: 100}
        client.online_endpoints.begin_create_or_update(found).wait(patience.deadline)
        _settled_endpoint(client, endpoint, patience)


def _find_deployment(client: MLClient, endpoint: str, name: str) -> Any | None:
    from azure.core.exceptions import ResourceNotFoundError

    try:
        return client.online_deployments.get(name, endpoint)
    except ResourceNotFoundError:
        return None


def _settled_deployment(
    client: MLClient, endpoint: str, name: str, patience: Patience
) -> Any | None:
    """Return the deployment once nothing is being done to it; None once it is not there."""

    def done(seen: Any | None) -> bool:
        return seen is None or _state(seen) not in (*MOVING, "deleting")

    def look() -> Any | None:
        with service_errors(f"Look at deployment '{name}'"):
            return _find_deployment(client, endpoint, name)

    return wait_until(f"Deployment '{name}'", look, done, patience)


def _same(deployed: Any, model: str) -> bool:
    return str(deployed).lower().endswith(model.lower().split("/workspaces/")[-1])
