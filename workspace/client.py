"""The one place that builds a credential and an ``MLClient``.

The SDK keeps the current cloud in ``os.environ`` and its clouds in a module's dictionary, so a
client built elsewhere, without ``cloud=``, could go to another cloud than this one: nothing but
this module builds one. A private cloud's metadata is fetched once a process and handed over, since
the SDK would fetch it anew for every operation (measured: ``jobs.get`` 8 ms against 51 ms).
"""

from __future__ import annotations

import logging
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from workspace.errors import (
    EXPIRED_TOKEN,
    CredentialError,
    FineTuneError,
    ServiceError,
    SettingsError,
)
from workspace.settings import CredentialChoice, Settings

if TYPE_CHECKING:
    from azure.ai.ml import MLClient
    from azure.core.credentials import TokenCredential

PUBLIC_CLOUDS = ("AzureCloud", "AzureChinaCloud", "AzureUSGovernment")

#: A hung request is given up and repeated; the SDK's own limit is 300 s for either. Azure lets a
#: scoring request take 180 s, so nothing that is merely slow is cut off.
CONNECT_TIMEOUT_S, READ_TIMEOUT_S = 20, 190

_per_thread = threading.local()
_sdk_state = threading.Lock()


def open_client(settings: Settings) -> MLClient:
    """Return a client of the workspace; the same thread gets the same one.

    The SDK's clients share HTTP sessions that are not documented as thread-safe, and a second
    client costs 8 ms, so threads do not share.

    Raises:
        CredentialError: no credential answered.
        SettingsError: the cloud is unknown.
    """
    return _opened(settings, "workspace")


def open_registry(settings: Settings) -> MLClient:
    """Return a client of the registry; the same thread gets the same one."""
    return _opened(settings, "registry")


def _opened(settings: Settings, kind: str) -> MLClient:
    clients: dict[tuple[Settings, str], MLClient] = _per_thread.__dict__.setdefault("clients", {})
    if (settings, kind) not in clients:
        clients[(settings, kind)] = _build(settings, kind)
    return clients[(settings, kind)]


def import_sdk() -> None:
    """Import the SDK, which asks for a private cloud's addresses while it is imported.

    Where nobody answers it raises what it makes of that, and half of its modules stay behind, with
    which no later import succeeds. They are forgotten, so that the next one begins anew.
    """
    with _sdk_state:
        try:
            import azure.ai.ml  # noqa: F401
        except BaseException:
            for name in [one for one in sys.modules if one.startswith("azure.ai.ml")]:
                del sys.modules[name]
            raise


def _load_sdk(settings: Settings) -> None:
    """Import the SDK.

    Raises:
        SettingsError: the metadata does not name the cloud.
        ServiceError: it does, but did not answer in time; transient.
    """
    try:
        import_sdk()
    except ImportError:
        raise
    except Exception as error:  # whatever the SDK makes of a missing answer
        if settings.cloud not in PUBLIC_CLOUDS:
            cloud_metadata(settings)
        raise ServiceError("Load Azure's SDK", None, type(error).__name__, str(error)) from error


def _build(settings: Settings, kind: str) -> MLClient:
    _load_sdk(settings)
    from azure.ai.ml import MLClient

    # It warns that its own classes are experimental, each once a process, in every run's log.
    logging.getLogger("azure.ai.ml._utils._experimental").setLevel(logging.ERROR)

    options: dict[str, Any] = {
        "cloud": settings.cloud,
        "enable_telemetry": False,
        "show_progress": False,
        "connection_timeout": CONNECT_TIMEOUT_S,
        "read_timeout": READ_TIMEOUT_S,
    }
    if settings.cloud not in PUBLIC_CLOUDS:
        options["cloud_metadata"] = cloud_metadata(settings)
    if kind == "registry":
        options["registry_name"] = settings.registry_name
    else:
        options["subscription_id"] = settings.subscription_id
        options["resource_group_name"] = settings.resource_group
        options["workspace_name"] = settings.workspace_name
    credential = find_credential(settings)
    with _sdk_state, service_errors(f"Open the {kind}"):
        return MLClient(credential, **options)


@lru_cache
def cloud_metadata(settings: Settings) -> dict[str, str]:
    """Return a private cloud's addresses in the SDK's own terms.

    Raises:
        SettingsError: the metadata cannot be read, or does not name the cloud.
    """
    import requests

    if settings.metadata_url is None:
        raise SettingsError(
            f"Cloud '{settings.cloud}' is not one of {', '.join(PUBLIC_CLOUDS)}. "
            "Set ARM_CLOUD_METADATA_URL to where it describes itself, or AZUREML_CURRENT_CLOUD "
            "to one of these."
        )
    try:
        answer = requests.get(settings.metadata_url, timeout=30)
        answer.raise_for_status()
        clouds = answer.json()
    except (requests.RequestException, ValueError) as error:
        raise SettingsError(
            f"The cloud's metadata at {settings.metadata_url} cannot be read: {error}. "
            "Is the address right, and the service up?"
        ) from error
    return _in_sdk_terms(settings, clouds if isinstance(clouds, list) else [clouds])


def _in_sdk_terms(settings: Settings, clouds: list[dict[str, Any]]) -> dict[str, str]:
    found = {cloud["name"]: cloud for cloud in clouds}
    if settings.cloud not in found:
        raise SettingsError(
            f"Cloud '{settings.cloud}' is not among those at {settings.metadata_url}: "
            f"{', '.join(found)}. Set AZUREML_CURRENT_CLOUD to one of them."
        )
    cloud = found[settings.cloud]
    suffix = ".".join(cloud["portal"].split(".")[2:]).replace("/", "")
    discovery = f"https://{settings.cloud.lower()}west.api.ml.azure.{suffix}/"
    return {
        "azure_portal": cloud["portal"],
        "resource_manager": cloud["resourceManager"],
        "active_directory": cloud["authentication"]["loginEndpoint"],
        "aml_resource_id": f"https://ml.azure.{suffix}",
        "storage_endpoint": cloud["suffixes"]["storage"],
        "registry_discovery_endpoint": settings.registry_discovery_url or discovery,
    }


@lru_cache
def find_credential(settings: Settings) -> TokenCredential:
    """Return the configured credential once it has answered; a browser only where a person sits.

    Raises:
        CredentialError: what was tried and what to set.
    """
    from azure.core.exceptions import ClientAuthenticationError

    credential = _credential(settings)
    try:
        credential.get_token(management_scope(settings))
    except (ClientAuthenticationError, ValueError) as error:
        if settings.credential.kind == "default" and sys.stdin is not None and sys.stdin.isatty():
            return _ask_in_a_browser(settings)
        raise CredentialError(
            "No Azure credential answered, and nobody sits at this terminal to log in. Set "
            "AZURE_CLIENT_ID, AZURE_TENANT_ID and AZURE_CLIENT_SECRET (or a certificate), give the "
            f"machine a managed identity, or run 'az login'. What was tried: {first_lines(error)}"
        ) from error
    return credential


def _credential(settings: Settings) -> TokenCredential:
    import azure.identity as identity

    choice = settings.credential
    match choice.kind:
        case "managed_identity":
            return identity.ManagedIdentityCredential(client_id=choice.client_id)
        case "workload_identity":
            return identity.WorkloadIdentityCredential(
                tenant_id=choice.tenant_id, client_id=choice.client_id
            )
        case "service_principal":
            return _service_principal(choice)
    return identity.DefaultAzureCredential()


def _service_principal(choice: CredentialChoice) -> TokenCredential:
    import azure.identity as identity

    if not (choice.tenant_id and choice.client_id):
        raise CredentialError("A service principal needs tenant_id and client_id. Set both.")
    if choice.client_secret:
        return identity.ClientSecretCredential(
            choice.tenant_id, choice.client_id, choice.client_secret.get_secret_value()
        )
    if not choice.certificate_path:
        raise CredentialError(
            "A service principal needs client_secret or certificate_path. Set one of them."
        )
    password = choice.certificate_password
    return identity.CertificateCredential(
        choice.tenant_id,
        choice.client_id,
        choice.certificate_path,
        password=password.get_secret_value() if password else None,
    )


def _ask_in_a_browser(settings: Settings) -> TokenCredential:
    from azure.core.exceptions import ClientAuthenticationError
    from azure.identity import InteractiveBrowserCredential

    credential = InteractiveBrowserCredential()
    try:
        credential.get_token(management_scope(settings))
    except ClientAuthenticationError as error:
        raise CredentialError(
            f"The login in the browser did not succeed: {first_lines(error)}"
        ) from error
    return credential


def management_scope(settings: Settings) -> str:
    """Return the scope of a token for Azure Resource Manager in this cloud."""
    known = {
        "AzureCloud": "https://management.azure.com",
        "AzureChinaCloud": "https://management.chinacloudapi.cn",
        "AzureUSGovernment": "https://management.usgovcloudapi.net",
    }
    manager = known.get(settings.cloud) or cloud_metadata(settings)["resource_manager"]
    return manager.rstrip("/") + "/.default"


def state_text(value: object) -> str:
    """Return a state as its text: the SDK gives text here and an enumeration there."""
    return str(getattr(value, "value", value))


@contextmanager
def service_errors(doing: str) -> Iterator[None]:
    """Turn the SDK's exceptions into ours, with the service's own words.

    Raises:
        CredentialError: 401, 403, or no token.
        ServiceError: anything else that Azure, or the way there, answered.
    """
    from azure.core.exceptions import AzureError, ClientAuthenticationError, HttpResponseError

    try:
        yield
    except FineTuneError:
        raise
    except ClientAuthenticationError as error:
        if error.status_code is not None:  # a service refused the token
            raise _from_response(doing, error) from error
        raise CredentialError(
            f"{doing}: no token was given: {first_lines(error)} "
            "Check the credential, and that its identity is still there."
        ) from error
    except HttpResponseError as error:
        raise _from_response(doing, error) from error
    except AzureError as error:
        raise ServiceError(doing, None, type(error).__name__, first_lines(error)) from error


def _from_response(doing: str, error: Any) -> FineTuneError:
    code = _code(error)
    message = getattr(error.error, "message", None) or first_lines(error)
    if error.status_code in (401, 403) and code != EXPIRED_TOKEN:
        return CredentialError(
            f"{doing}: Azure gave HTTP {error.status_code} ({code}): {message} "
            "Check the role of the credential on this workspace."
        )
    return ServiceError(doing, error.status_code, code, str(message))


def _code(error: Any) -> str:
    return str(getattr(error.error, "code", None) or type(error).__name__)


def first_lines(error: BaseException, most: int = 600) -> str:
    """Return an error's text on one line, no more than ``most`` characters of it."""
    return " ".join(str(error).split())[:most]
