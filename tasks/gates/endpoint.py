"""Gate: the endpoint's name is free, or this run's own."""

from __future__ import annotations

from tasks.retries import azure_step
from workspace import naming
from workspace.client import open_client, state_text
from workspace.plan import EndpointFacts
from workspace.settings import Settings


@azure_step("Gate: the endpoint's name", tags={"azure", "gate", "plan"})
def look_at_endpoint(settings: Settings, name: str) -> EndpointFacts:
    """Say whether the workspace has an endpoint of this name, and which run made it."""
    from azure.core.exceptions import ResourceNotFoundError

    try:
        found = open_client(settings).online_endpoints.get(name)
    except ResourceNotFoundError:
        return EndpointFacts()
    return EndpointFacts(
        taken=True,
        run_key=(found.tags or {}).get(naming.KEY_TAG),
        state=state_text(found.provisioning_state),
    )
