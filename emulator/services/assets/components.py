"""Command components of the workspace: what their specification must say."""

from typing import Any

from emulator.protocol.errors import ArmError, NotEmulated

#: What the SDK calls the version that a name alone means (azure-ai-ml: constants/_common.py,
#: DEFAULT_COMPONENT_VERSION).
DEFAULT = "azureml_default"
KIND = "command"
REQUIRED = ("command", "environment")


def check(properties: dict[str, Any]) -> None:
    """Raises ArmError 400: a specification without what a command needs; NotEmulated: a kind."""
    spec = properties.get("componentSpec") or {}
    kind = str(spec.get("type") or "").lower()
    if not kind:
        raise ArmError(400, "UserError", "The component's specification has no type.")
    if kind != KIND:
        raise NotEmulated(f"A component of type '{spec['type']}'; there are '{KIND}' components.")
    missing = [name for name in REQUIRED if not spec.get(name)]
    if missing:
        text = f"The command component's specification has no {' and no '.join(missing)}."
        raise ArmError(400, "UserError", text)


def named(properties: dict[str, Any], name: str, version: str) -> dict[str, Any]:
    """The properties, their specification with the name and version that it was given."""
    spec = {**(properties.get("componentSpec") or {}), "name": name, "version": version}
    return {**properties, "componentSpec": spec}
