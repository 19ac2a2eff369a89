"""What the service tells and the SDK leaves out: read over REST with the run's own credential.

The SDK drops a model's ``system_metadata`` and its archived flag, has no call for what a caller
may do, and imports mlflow (5 s) to answer where a workspace is.
"""

from __future__ import annotations

import json
from base64 import urlsafe_b64decode
from datetime import UTC, datetime
from functools import lru_cache
from importlib import import_module
from typing import Any, NamedTuple
from urllib.parse import quote

from workspace.client import cloud_metadata, find_credential, import_sdk, management_scope
from workspace.settings import Settings

PROVIDER = "Microsoft.MachineLearningServices"
WORKSPACE_API = "2024-10-01"
PERMISSIONS_API = "2022-04-01"
REGISTRY_API = "2021-10-01-dataplanepreview"

#: Where public clouds look registries up; a private cloud's metadata or settings say it.
DISCOVERY = {
    "AzureCloud": "https://eastus.api.azureml.ms/",
    "AzureChinaCloud": "https://chinaeast2.api.ml.azure.cn/",
    "AzureUSGovernment": "https://usgovarizona.api.ml.azure.us/",
}


def get_workspace(settings: Settings) -> dict[str, Any]:
    """Return the workspace as ARM describes it.

    Raises:
        azure.core.exceptions.HttpResponseError: it is not there, or may not be read.
    """
    return get_json(settings, f"{workspace_url(settings)}?api-version={WORKSPACE_API}")


def get_permissions(settings: Settings) -> list[dict[str, Any]]:
    """Return what the credential may do in the workspace: entries of actions and notActions.

    Raises:
        azure.core.exceptions.HttpResponseError: Azure does not tell.
    """
    place = f"{workspace_url(settings)}/providers/Microsoft.Authorization/permissions"
    found = get_json(settings, f"{place}?api-version={PERMISSIONS_API}")
    return list(found.get("value") or [])


def get_model_version(settings: Settings, name: str, version: str) -> dict[str, Any]:
    """Return a model version of the registry, with everything that its card says.

    Raises:
        azure.core.exceptions.HttpResponseError: the registry or the model is not there.
    """
    place = f"{registry_url(settings)}/models/{quote(name)}/versions/{quote(version)}"
    return get_json(settings, f"{place}?api-version={REGISTRY_API}")


def workspace_url(settings: Settings) -> str:
    """Return the workspace's address at Azure Resource Manager."""
    manager = management_scope(settings).removesuffix("/.default")
    return (
        f"{manager}/subscriptions/{quote(settings.subscription_id)}"
        f"/resourceGroups/{quote(settings.resource_group)}"
        f"/providers/{PROVIDER}/workspaces/{quote(settings.workspace_name)}"
    )


def registry_url(settings: Settings) -> str:
    """Return the registry's address at its own data plane, as discovery tells it."""
    place = settings.registry_discovery_url or DISCOVERY.get(settings.cloud)
    if place is None:
        place = cloud_metadata(settings)["registry_discovery_endpoint"]
    name = quote(settings.registry_name)
    found = get_json(
        settings, f"{place.rstrip('/')}/registrymanagement/v1.0/registries/{name}/discovery"
    )
    plane = str(found["primaryRegionResourceProviderUri"]).rstrip("/")
    return (
        f"{plane}/mferp/managementfrontend/subscriptions/{found['subscriptionId']}"
        f"/resourceGroups/{found['resourceGroup']}/providers/{PROVIDER}/registries/{name}"
    )


def token_claims(settings: Settings) -> dict[str, Any]:
    """Return whom the credential stands for and until when: the token's claims, never the token.

    ``exp`` is in unix seconds; the others (``upn``, ``appid``, ``oid``, ``tid``) are text. A token
    that cannot be read gives ``exp`` alone.
    """
    token = find_credential(settings).get_token(management_scope(settings))
    parts = token.token.split(".")
    try:
        padded = parts[1] + "=" * (-len(parts[1]) % 4)
        claims = json.loads(urlsafe_b64decode(padded))
    except (IndexError, ValueError):
        claims = {}
    return {**(claims if isinstance(claims, dict) else {}), "exp": token.expires_on}


def get_json(settings: Settings, url: str) -> dict[str, Any]:
    """Return the object that an Azure address answers; the SDK's own policy repeats what may be.

    Raises:
        azure.core.exceptions.AzureError: it did not answer, or with an error.
    """
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
        return dict(answer.json())


def preload() -> None:
    """Import what the way to Azure and to the data needs: 3 s, best spent beside another wait."""
    import_sdk()
    for name in ("azure.identity", "huggingface_hub", "pyarrow.parquet"):
        import_module(name)


class StepRun(NamedTuple):
    """One step of a pipeline job; times in unix seconds, None where it has not come to that."""

    run: str
    name: str
    status: str
    started: float | None
    ended: float | None


def get_steps(settings: Settings, job: str) -> list[StepRun]:
    """Return the steps that a pipeline job has begun or done, those of nested pipelines too.

    The SDK's own listing of them takes a refused discovery document for one without addresses
    (``KeyError: 'api'``), which would end a night's wait without a cause.

    A job that the history does not know (yet) has none.

    Raises:
        azure.core.exceptions.AzureError: the history could not be asked.
    """
    from azure.core.exceptions import HttpResponseError

    try:
        leaves = _leaves(settings, job, depth=3)
    except HttpResponseError as error:
        if error.status_code != 404:
            raise
        return []
    return [
        StepRun(
            run=str(run["runId"]),
            name=str(run.get("displayName") or run["runId"]),
            status=str(run.get("status") or ""),
            started=_seconds(run.get("startTimeUtc")),
            ended=_seconds(run.get("endTimeUtc")),
        )
        for run in leaves
    ]


def _leaves(settings: Settings, run: str, depth: int) -> list[dict[str, Any]]:
    place = f"{history_url(settings)}/runs/{quote(run)}/children"
    leaves: list[dict[str, Any]] = []
    for child in get_json(settings, place).get("value") or []:
        nested = str(child.get("runType") or "").endswith("PipelineRun") and depth > 1
        leaves += _leaves(settings, str(child["runId"]), depth - 1) if nested else [child]
    return leaves


def _seconds(text: Any) -> float | None:
    if not text:
        return None
    moment = datetime.fromisoformat(str(text))
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()


@lru_cache
def history_url(settings: Settings) -> str:
    """Return the workspace's address at the run history, as its discovery document tells it."""
    discovery = str(get_workspace(settings)["properties"]["discoveryUrl"])
    api = str(get_json(settings, discovery)["api"]).rstrip("/")
    path = workspace_url(settings).split("/subscriptions/", 1)[1]
    return f"{api}/history/v1.0/subscriptions/{path}"
