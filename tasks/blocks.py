"""Prefect blocks: a workspace, and the credential to reach it with.

``make blocks`` registers them; documents are made in the UI, by API, or by ``save``.
"""

from __future__ import annotations

from typing import Any, Literal

from prefect.blocks.core import Block
from pydantic import Field, SecretStr


class AzureMLCredential(Block):
    """A credential kind of azure-identity. Without a secret or certificate nothing is stored."""

    _block_type_name = "Azure ML credential"
    _block_type_slug = "azure-ml-credential"

    kind: Literal["default", "managed_identity", "workload_identity", "service_principal"] = Field(
        default="default", description="default: azure-identity's default chain."
    )
    tenant_id: str | None = Field(default=None, description="Tenant of a service principal.")
    client_id: str | None = Field(
        default=None, description="Client id of a service principal or user-assigned identity."
    )
    client_secret: SecretStr | None = Field(
        default=None, description="Secret of a service principal."
    )
    certificate_path: str | None = Field(
        default=None, description="Path of a service principal's certificate on the worker."
    )
    certificate_password: SecretStr | None = Field(
        default=None, description="Password of the certificate."
    )


class AzureMLWorkspace(Block):
    """Where a workspace is, and with which credential it is reached."""

    _block_type_name = "Azure ML workspace"
    _block_type_slug = "azure-ml-workspace"

    subscription_id: str = Field(description="The Azure subscription's id.")
    resource_group: str = Field(description="The workspace's resource group.")
    workspace_name: str = Field(description="The workspace.")
    registry_name: str = Field(default="azureml", description="The registry with the models.")
    cloud: str = Field(default="AzureCloud", description="The cloud's name.")
    metadata_url: str | None = Field(default=None, description="A private cloud's description.")
    registry_discovery_url: str | None = Field(default=None, description="Its registries.")
    storage_hosts: str = Field(
        default="", description="Hosts beside the cloud's own blob storage that may get a token."
    )
    credential: AzureMLCredential | None = Field(
        default=None, description="Empty: azure-identity's default chain."
    )

    def connection(self) -> dict[str, Any]:
        """Return the values by the names of ``finetuning.azure.settings.Settings``."""
        names = [
            "subscription_id",
            "resource_group",
            "workspace_name",
            "registry_name",
            "cloud",
            "metadata_url",
            "registry_discovery_url",
            "storage_hosts",
        ]
        values: dict[str, Any] = {name: getattr(self, name) for name in names}
        if self.credential is not None:
            fields = AzureMLCredential.model_fields
            values["credential"] = {name: getattr(self.credential, name) for name in fields}
        return values
