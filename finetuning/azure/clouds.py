"""The cloud that a workspace is in, and its addresses in the SDK's own terms."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Any

from finetuning.azure.settings import Settings
from finetuning.azure.time_limits import request_limits
from finetuning.errors import DataError, SettingsError

PUBLIC_CLOUDS = ("AzureCloud", "AzureChinaCloud", "AzureUSGovernment")


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
        limits = request_limits()
        times = (limits["connection_timeout"], limits["read_timeout"])
        answer = requests.get(settings.metadata_url, timeout=times)
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


def management_scope(settings: Settings) -> str:
    """Return the scope of a token for Azure Resource Manager in this cloud."""
    known = {
        "AzureCloud": "https://management.azure.com",
        "AzureChinaCloud": "https://management.chinacloudapi.cn",
        "AzureUSGovernment": "https://management.usgovcloudapi.net",
    }
    manager = known.get(settings.cloud) or cloud_metadata(settings)["resource_manager"]
    return manager.rstrip("/") + "/.default"


#: Blob storage of the public clouds; a private cloud's metadata says it.
STORAGE = {
    "AzureCloud": "core.windows.net",
    "AzureChinaCloud": "core.chinacloudapi.cn",
    "AzureUSGovernment": "core.usgovcloudapi.net",
}
#: Accounts of the public cloud whose names Azure keeps in DNS zones (account.z01.blob...).
DNS_ZONES = "storage.azure.net"
ACCOUNT = r"[a-z0-9]{3,24}"


def check_storage_host(settings: Settings, host: str) -> None:
    """Refuse a host that must not see the credential's token: neither the cloud's nor listed.

    Raises:
        DataError: names the host, and where an operator may allow it.
    """
    cloud = STORAGE.get(settings.cloud) or cloud_metadata(settings)["storage_endpoint"]
    own = [rf"{ACCOUNT}\.blob\.{re.escape(cloud)}"]
    if settings.cloud == "AzureCloud":
        own.append(rf"{ACCOUNT}\.z[0-9]{{1,2}}\.blob\.{re.escape(DNS_ZONES)}")
    if any(re.fullmatch(one, host.lower()) for one in own):
        return
    if host.lower() in {one.strip().lower() for one in settings.storage_hosts.split(",") if one}:
        return
    raise DataError(
        f"Host '{host}' is not blob storage of {settings.cloud} (account.blob.{cloud}), so it is "
        "not contacted and gets no token. Correct the address. If it is a custom domain of your "
        "storage account, the operator can allow it with FINETUNE_STORAGE_HOSTS."
    )
