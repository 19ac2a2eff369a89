"""Which subscription, resource group and workspace a request may name: the emulator's own."""

from emulator.configuration import Configuration
from emulator.protocol.errors import ArmError
from emulator.protocol.resources import TYPE


def check_scope(config: Configuration, names: dict[str, str]) -> None:
    """Raise ArmError 404 as ARM does: no such subscription, resource group or workspace."""
    mine = config.identity
    subscription, group = names.get("subscription"), names.get("group")
    if subscription and subscription.lower() != mine.subscription:
        text = f"The subscription '{subscription}' could not be found."
        raise ArmError(404, "SubscriptionNotFound", text)
    known = (mine.resource_group.lower(), mine.registry_group.lower())
    if group and group.lower() not in known:
        raise ArmError(
            404, "ResourceGroupNotFound", f"Resource group '{group}' could not be found."
        )
    workspace = names.get("workspace")
    here = (mine.resource_group.lower(), mine.workspace.lower())
    if workspace and (str(group or here[0]).lower(), workspace.lower()) != here:
        raise ArmError(
            404,
            "ResourceNotFound",
            f"The Resource '{TYPE}/{workspace}' under resource group '{group}' was not found.",
        )
