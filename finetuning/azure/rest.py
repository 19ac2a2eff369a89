"""What the service tells and the SDK leaves out: read over REST with the run's own credential.

The SDK drops a model's ``system_metadata`` and its archived flag, has no call for what a caller
may do, and imports mlflow (5 s) to answer where a workspace is.
"""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

from finetuning.azure.clouds import cloud_metadata, management_scope
from finetuning.azure.credentials import find_credential
from finetuning.azure.settings import Settings
from finetuning.azure.time_limits import request_limits

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


def get_json(settings: Settings, url: str) -> dict[str, Any]:
    """Return the object that an Azure address answers; the SDK's own policy repeats what may be.

    Raises:
        azure.core.exceptions.AzureError: it did not answer, or with an error.
    """
    return ask_json(settings, "GET", url)


def ask_json(
    settings: Settings, method: str, url: str, body: dict[str, Any] | None = None
) -> dict[str, Any]:
    """Return the object that an Azure address answers to a request with a JSON body.

    Raises:
        azure.core.exceptions.AzureError: it did not answer, or with an error.
    """
    from azure.core import PipelineClient
    from azure.core.pipeline.policies import BearerTokenCredentialPolicy, RetryPolicy
    from azure.core.rest import HttpRequest

    policies = [
        RetryPolicy(),  # repeats a POST only where the request was not taken
        BearerTokenCredentialPolicy(find_credential(settings), management_scope(settings)),
    ]
    client: Any  # generic in request types that its own HttpRequest does not name
    with PipelineClient(base_url="", policies=policies) as client:
        answer = client.send_request(HttpRequest(method, url, json=body), **request_limits())
        answer.raise_for_status()
        return _object(answer)


def get_text(url: str) -> str:
    """Return the text at an address that is signed, and so asks for no token.

    Raises:
        azure.core.exceptions.AzureError: it did not answer, or with an error.
    """
    from azure.core import PipelineClient
    from azure.core.pipeline.policies import RetryPolicy
    from azure.core.rest import HttpRequest

    client: Any
    with PipelineClient(base_url="", policies=[RetryPolicy()]) as client:
        answer = client.send_request(HttpRequest("GET", url), **request_limits())
        answer.raise_for_status()
        return str(answer.text())


def _object(answer: Any) -> dict[str, Any]:
    """Return the JSON object in an answer; a proxy's page or half an answer is none."""
    from azure.core.exceptions import ServiceResponseError

    try:
        found = answer.json()
    except ValueError as error:
        raise ServiceResponseError(f"{answer.url} did not answer JSON: {error}") from error
    if not isinstance(found, dict):
        raise ServiceResponseError(f"{answer.url} did not answer with a JSON object.")
    return found
