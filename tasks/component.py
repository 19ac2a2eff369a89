"""Gate: the pipeline component exists, is pinned, and tells its inputs."""

from __future__ import annotations

from typing import Any

from finetuning.azure.client import open_registry
from finetuning.azure.settings import Settings
from finetuning.planning.declared import read_declared
from finetuning.planning.facts import ComponentFacts
from finetuning.planning.findings import Report
from tasks.step import azure_step


@azure_step("Gate: the pipeline component")
def check_component(settings: Settings, name: str) -> ComponentFacts:
    """Resolve the component's latest version once for the whole run, and read its inputs."""
    from azure.ai.ml.exceptions import MlException
    from azure.core.exceptions import ResourceNotFoundError

    report = Report("component")
    try:
        found = open_registry(settings).components.get(name, label="latest")
    except (ResourceNotFoundError, MlException):
        report.error(
            f"Component '{name}' is not in registry '{settings.registry_name}'.",
            "Check AZURE_REGISTRY_NAME.",
        )
        return ComponentFacts(findings=report.findings)
    report.note(f"{name} is pinned to version {found.version}.")
    return ComponentFacts(
        version=str(found.version),
        declared=read_declared(_facts(found.inputs)),
        findings=report.findings,
    )


def _facts(inputs: dict[str, Any]) -> dict[str, dict[str, Any]]:
    names = ("type", "optional", "default", "min", "max", "enum")
    return {
        name: {fact: getattr(one, fact, None) for fact in names} for name, one in inputs.items()
    }
