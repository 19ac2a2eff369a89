"""The endpoint: its name looked at, created, deleted, each safe in whatever state Azure is."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from prefect import get_run_logger
from prefect.artifacts import create_markdown_artifact

from finetuning.azure.client import open_client
from finetuning.azure.ownership import KEY_TAG, adopted_tags, served_tags
from finetuning.azure.service_errors import look_up, state_text
from finetuning.azure.settings import Settings
from finetuning.errors import EndpointError, EndpointLeftRunning, FineTuneError
from finetuning.form.context import RunContext
from finetuning.planning.facts import EndpointFacts
from tasks.step import azure_step
from tasks.waiting import Patience, patience, wait_for_operation, wait_until

if TYPE_CHECKING:
    from azure.ai.ml import MLClient

#: States in which Azure works on an endpoint or a deployment.
MOVING = ("creating", "updating", "provisioning", "deleting")


@azure_step("Gate: the endpoint's name")
def look_at_endpoint(settings: Settings, name: str) -> EndpointFacts:
    """Say whether the workspace has an endpoint of this name, and which run made it."""
    endpoint = look_up(open_client(settings).online_endpoints.get, name)
    if endpoint is None:
        return EndpointFacts()
    run_key = (endpoint.tags or {}).get(KEY_TAG)
    return EndpointFacts(taken=True, run_key=run_key, state=resource_state(endpoint))


@azure_step("Create the endpoint")
def create_endpoint(context: RunContext, name: str) -> str:
    """Return the name of an endpoint that is ready; without a deployment it costs nothing.

    One that an earlier try made is adopted in whatever state it is, with the expiry that it has;
    one that is being deleted is waited for and made anew.

    Raises:
        EndpointError: the name belongs to somebody else, or Azure could not create it.
    """
    from azure.ai.ml.entities import ManagedOnlineEndpoint

    client, owner = open_client(context.settings), context.owner
    wait = patience(context.deadlines, "deployment_minutes")
    endpoint = settled_endpoint(client, name, wait)
    if endpoint is not None and (endpoint.tags or {}).get(KEY_TAG) != owner.key:
        raise EndpointError(
            f"Endpoint '{name}' exists and belongs to someone else, so it is left alone. "
            "Choose another run.endpoint.name, or leave it empty."
        )
    there = dict(endpoint.tags or {}) if endpoint is not None else {}
    tags = adopted_tags(there, owner.tags)
    if endpoint is None or resource_state(endpoint) != "succeeded":
        new = ManagedOnlineEndpoint(name=name, auth_mode="key", tags=tags)
        endpoint = update_endpoint(client, new, wait)
    elif tags != there:  # adopted: whose it is now
        endpoint.tags = tags
        endpoint = update_endpoint(client, endpoint, wait)
    if endpoint is None or resource_state(endpoint) != "succeeded":
        state = resource_state(endpoint) if endpoint is not None else "gone"
        raise EndpointError(
            f"Endpoint '{name}' is {state} after its creation. Start the run again."
        )
    get_run_logger().info("endpoint %s is ready", name)
    return name


def date_serving(client: MLClient, name: str, kept_hours: float, wait: Patience) -> None:
    """Let a kept endpoint expire so many hours from now; one that serves already keeps its expiry.

    Called before the deployment that bills is begun, so that what bills is never without its date.
    """
    endpoint = settled_endpoint(client, name, wait)
    if endpoint is None:  # the deployment's creation will say so
        return
    there = dict(endpoint.tags or {})
    tags = served_tags(there, datetime.now(UTC), kept_hours)
    if tags != there:
        endpoint.tags = tags
        update_endpoint(client, endpoint, wait)


@azure_step("Delete the endpoint")
def delete_endpoint(context: RunContext, name: str) -> bool:
    """Delete the endpoint and wait until Azure says that it is gone. Return whether it was there.

    What is already gone is success. What is not this run's is left alone.

    Raises:
        EndpointLeftRunning: it is still there at the deadline; the reaper will try again.
    """
    client = open_client(context.settings)
    wait = patience(context.deadlines, "deletion_minutes")
    if not remove_endpoint(client, name, context.owner.key, wait):
        return False
    get_run_logger().info("endpoint %s is gone", name)
    return True


def remove_endpoint(client: MLClient, name: str, key: str | None, wait: Patience) -> bool:
    """Delete the endpoint if it bears the run's key (None: any), and wait until it is gone."""
    endpoint = look_up(client.online_endpoints.get, name)
    if endpoint is None or (key is not None and (endpoint.tags or {}).get(KEY_TAG) != key):
        return False

    def look() -> Any | None:
        seen = look_up(client.online_endpoints.get, name)
        if seen is not None and resource_state(seen) != "deleting":
            _begin_delete(client, name)
        return seen

    try:
        wait_until(f"Deleting endpoint '{name}'", look, lambda seen: seen is None, wait)
    except FineTuneError as error:
        create_markdown_artifact(
            f"## Endpoint `{name}` may still run and bill\n\n{error}",
            key="endpoint-left-running",
        )
        raise EndpointLeftRunning(name, str(error)) from error
    return True


def _begin_delete(client: MLClient, name: str) -> None:
    from azure.core.exceptions import HttpResponseError

    try:
        look_up(client.online_endpoints.begin_delete, name)
    except HttpResponseError as error:
        if error.status_code != 409:  # something is still being done to it: asked again later
            raise


def update_endpoint(client: MLClient, endpoint: Any, wait: Patience) -> Any | None:
    """Create or change an endpoint; return it as it is once Azure is done with it."""
    what = f"Endpoint '{endpoint.name}'"
    operation = client.online_endpoints.begin_create_or_update(endpoint)
    wait_for_operation(what, operation, replace(wait, guard=None))
    return settled_endpoint(client, endpoint.name, wait)


def settled_endpoint(client: MLClient, name: str, wait: Patience) -> Any | None:
    """Return the endpoint once nothing is being done to it; None once it is not there."""
    return wait_until(
        f"Endpoint '{name}'", lambda: look_up(client.online_endpoints.get, name), is_settled, wait
    )


def is_settled(resource: Any | None) -> bool:
    """Return whether Azure does nothing to an endpoint or a deployment, or it is not there."""
    return resource is None or resource_state(resource) not in MOVING


def resource_state(resource: Any) -> str:
    """Return the provisioning state of an endpoint or a deployment, in lower case."""
    return state_text(resource.provisioning_state).lower()
