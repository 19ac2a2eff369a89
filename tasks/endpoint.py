"""The endpoint: its name looked at, created, deleted, each safe in whatever state Azure is."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from prefect import get_run_logger
from prefect.artifacts import create_markdown_artifact

from finetuning.azure import ownership
from finetuning.azure.client import open_client
from finetuning.azure.ownership import KEY_TAG, Ownership
from finetuning.azure.service_errors import service_errors, state_text
from finetuning.azure.settings import Settings
from finetuning.errors import EndpointError, EndpointLeftRunning, FineTuneError
from finetuning.form.run import Deadlines
from finetuning.planning.facts import EndpointFacts
from tasks.step import azure_step
from tasks.waiting import Patience, wait_until

if TYPE_CHECKING:
    from azure.ai.ml import MLClient


@azure_step("Gate: the endpoint's name")
def look_at_endpoint(settings: Settings, name: str) -> EndpointFacts:
    """Say whether the workspace has an endpoint of this name, and which run made it."""
    from azure.core.exceptions import ResourceNotFoundError

    try:
        found = open_client(settings).online_endpoints.get(name)
    except ResourceNotFoundError:
        return EndpointFacts()
    return EndpointFacts(
        taken=True,
        run_key=(found.tags or {}).get(ownership.KEY_TAG),
        state=state_text(found.provisioning_state),
    )


MOVING = ("creating", "updating", "provisioning")


@azure_step("Create the endpoint")
def create_endpoint(settings: Settings, name: str, owner: Ownership, deadlines: Deadlines) -> str:
    """Return the name of an endpoint that is ready; without a deployment it costs nothing.

    One that an earlier try made is adopted in whatever state it is; one that is being deleted is
    waited for and made anew.

    Raises:
        EndpointError: the name belongs to somebody else, or Azure could not create it.
    """
    from azure.ai.ml.entities import ManagedOnlineEndpoint

    client = open_client(settings)
    patience = _patience(deadlines, "deployment_minutes")
    found = _settled_endpoint(client, name, patience)
    if found is not None and (found.tags or {}).get(KEY_TAG) != owner.key:
        raise EndpointError(
            f"Endpoint '{name}' exists and is not this run's: it is left alone. "
            "Choose another run.endpoint.name, or leave it empty."
        )
    if found is None or _state(found) != "succeeded":
        endpoint = ManagedOnlineEndpoint(name=name, auth_mode="key", tags=owner.tags)
        client.online_endpoints.begin_create_or_update(endpoint).wait(patience.deadline)
        found = _settled_endpoint(client, name, patience)
    elif {**(found.tags or {}), **owner.tags} != found.tags:  # adopted: whose, and until when
        found.tags = {**(found.tags or {}), **owner.tags}
        client.online_endpoints.begin_create_or_update(found).wait(patience.deadline)
        found = _settled_endpoint(client, name, patience)
    if found is None or _state(found) != "succeeded":
        state = _state(found) if found is not None else "gone"
        raise EndpointError(
            f"Endpoint '{name}' is {state} after its creation. Start the run again."
        )
    get_run_logger().info("endpoint %s is ready", name)
    return name


@azure_step("Delete the endpoint")
def delete_endpoint(settings: Settings, name: str, owner: Ownership, deadlines: Deadlines) -> bool:
    """Delete the endpoint and wait until Azure says that it is gone. Return whether it was there.

    What is already gone is success. What is not this run's is left alone.

    Raises:
        EndpointLeftRunning: it is still there at the deadline; the reaper will try again.
    """
    client = open_client(settings)
    patience = _patience(deadlines, "deletion_minutes")
    if not remove_endpoint(client, name, owner.key, patience):
        return False
    get_run_logger().info("endpoint %s is gone", name)
    return True


def remove_endpoint(client: MLClient, name: str, key: str | None, patience: Patience) -> bool:
    """Delete the endpoint if it bears the run's key (None: any), and wait until it is gone."""
    found = _find_endpoint(client, name)
    if found is None or (key is not None and (found.tags or {}).get(KEY_TAG) != key):
        return False

    def look() -> Any | None:
        with service_errors(f"Delete endpoint '{name}'"):
            seen = _find_endpoint(client, name)
            if seen is not None and _state(seen) != "deleting":
                _begin_delete(client, name)
            return seen

    try:
        wait_until(f"Deleting endpoint '{name}'", look, lambda seen: seen is None, patience)
    except FineTuneError as error:
        create_markdown_artifact(
            f"## Endpoint `{name}` may still run and bill\n\n{error}",
            key="endpoint-left-running",
        )
        raise EndpointLeftRunning(name, str(error)) from error
    return True


def _begin_delete(client: MLClient, name: str) -> None:
    from azure.core.exceptions import HttpResponseError, ResourceNotFoundError

    try:
        client.online_endpoints.begin_delete(name)
    except ResourceNotFoundError:
        return
    except HttpResponseError as error:
        if error.status_code != 409:  # something is still being done to it: asked again later
            raise


def _find_endpoint(client: MLClient, name: str) -> Any | None:
    from azure.core.exceptions import ResourceNotFoundError

    try:
        return client.online_endpoints.get(name)
    except ResourceNotFoundError:
        return None


def _settled_endpoint(client: MLClient, name: str, patience: Patience) -> Any | None:
    """Return the endpoint once nothing is being done to it; None once it is not there."""

    def done(seen: Any | None) -> bool:
        return seen is None or _state(seen) not in (*MOVING, "deleting")

    def look() -> Any | None:
        with service_errors(f"Look at endpoint '{name}'"):
            return _find_endpoint(client, name)

    return wait_until(f"Endpoint '{name}'", look, done, patience)


def _state(resource: Any) -> str:
    return state_text(resource.provisioning_state).lower()


def _patience(deadlines: Deadlines, name: str) -> Patience:
    return Patience(
        deadline=getattr(deadlines, name) * 60,
        interval=min(deadlines.poll_seconds, 10),
        outage=deadlines.outage_minutes * 60,
        parameter=f"run.deadlines.{name}",
    )
