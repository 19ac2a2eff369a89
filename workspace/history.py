"""Why a run of the workspace failed, in the service's own words.

The SDK tells a job's status but not its error; the studio reads it from the run history, and so
does this. The address comes from the workspace's discovery document, as the SDK's own does.
"""

from __future__ import annotations

from typing import Any

from workspace.client import find_credential, management_scope, open_client
from workspace.settings import Settings


def run_error(settings: Settings, run: str) -> str:
    """Return the error text of a run, or an empty string where the service gave none.

    Raises:
        azure.core.exceptions.AzureError: the history could not be asked.
    """
    details = _get(settings, f"{_history_url(settings)}/runs/{run}/details")
    error = (details.get("error") or {}).get("error") or details.get("error") or {}
    message = str(error.get("message") or "")
    code = str(error.get("code") or "")
    return f"{code}: {message}" if code and message else message


def _history_url(settings: Settings) -> str:
    workspace = open_client(settings).workspaces.get(settings.workspace_name)
    api = _get(settings, str(workspace.discovery_url))["api"].rstrip("/")
    return (
        f"{api}/history/v1.0/subscriptions/{settings.subscription_id}"
        f"/resourceGroups/{settings.resource_group}"
        f"/providers/Microsoft.MachineLearningServices/workspaces/{settings.workspace_name}"
    )


def _get(settings: Settings, url: str) -> Any:
    from azure.core import PipelineClient
    from azure.core.pipeline.policies import BearerTokenCredentialPolicy, RetryPolicy
    from azure.core.rest import HttpRequest

    policies = [
        RetryPolicy(),
        BearerTokenCredentialPolicy(find_credential(settings), management_scope(settings)),
    ]
    client: Any  # generic in request types that its own HttpRequest does not name
    with PipelineClient(base_url="", policies=policies) as client:
        answer = client.send_request(HttpRequest("GET", url))
        answer.raise_for_status()
        return answer.json()
