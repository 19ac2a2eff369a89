"""Connect: find the settings, prove the credential, reach workspace and registry."""

from __future__ import annotations

import os
from typing import Any

from prefect import get_run_logger
from prefect.exceptions import ObjectNotFound

from tasks.retries import azure_step
from workspace.client import find_credential, open_client, open_registry
from workspace.errors import ResourceMissing, SettingsError
from workspace.settings import Settings, load_settings
from workspace.types import Connected


@azure_step("Connect to the workspace", tags={"azure", "gate"})
def connect(settings: Settings) -> Connected:
    """Reach the workspace and the registry with the credential that answers."""
    from azure.core.exceptions import ResourceNotFoundError

    log = get_run_logger()
    client = open_client(settings)
    try:
        workspace = client.workspaces.get(settings.workspace_name)
    except ResourceNotFoundError as error:
        raise ResourceMissing(
            "Workspace",
            settings.workspace_name,
            f"resource group '{settings.resource_group}' of subscription "
            f"'{settings.subscription_id}'",
            "Check AZURE_WORKSPACE_NAME, AZURE_RESOURCE_GROUP and AZURE_SUBSCRIPTION_ID.",
        ) from error
    open_registry(settings)
    credential = type(find_credential(settings)).__name__
    log.info("connected to workspace %s in %s", workspace.name, workspace.location)
    return Connected(
        workspace=str(workspace.name),
        location=str(workspace.location),
        registry=settings.registry_name,
        tracking_uri=str(workspace.mlflow_tracking_uri),
        credential=credential,
    )


def find_settings(block: str | None = None) -> Settings:
    """Return the connection: from the environment, ``config.json`` or a block, in that order.

    ``block`` names the block document, else ``FINETUNE_BLOCK`` does; without either, a block named
    ``default`` is used if there is one. The server is asked only for what environment and file
    leave open.

    Raises:
        SettingsError: something is missing, or the named block does not exist.
    """
    block = block or os.environ.get("FINETUNE_BLOCK")
    if not block:
        try:
            return load_settings()
        except SettingsError as error:
            found = _load_block("default")
            if found is None:
                raise error
            return load_settings(found)
    found = _load_block(block)
    if found is None:
        raise SettingsError(
            f"There is no Prefect block azure-ml-workspace/{block}. "
            "Make it in the UI (after 'make blocks'), or unset FINETUNE_BLOCK."
        )
    return load_settings(found)


def _load_block(name: str) -> dict[str, Any] | None:
    from tasks.blocks import AzureMLWorkspace

    try:
        block = AzureMLWorkspace.load(name)
    except (ValueError, ObjectNotFound):
        return None
    return dict(block.connection())  # type: ignore[union-attr]  # not in a coroutine
