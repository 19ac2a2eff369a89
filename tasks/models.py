"""Models: pick the foundation model from the registry, register the fine-tuned one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from prefect import get_run_logger

from tasks.retries import azure_step
from workspace.client import open_client, open_registry
from workspace.errors import ResourceMissing
from workspace.settings import Settings
from workspace.types import Foundation, ModelChoice, Ownership, RegisteredModel

if TYPE_CHECKING:
    from azure.ai.ml import MLClient

OUTPUT = "trained_model"


@azure_step("Pick the foundation model", tags={"azure", "gate"})
def pick_model(settings: Settings, choice: ModelChoice) -> Foundation:
    """Resolve the model's version or label in the registry, and pin it for the whole run."""
    from azure.core.exceptions import ResourceNotFoundError

    registry = open_registry(settings)
    try:
        found = _get(registry, choice)
    except ResourceNotFoundError as error:
        raise ResourceMissing(
            "Model",
            f"{choice.name}:{choice.version or choice.label}",
            f"registry '{settings.registry_name}'",
            "Check run.model.name and run.model.version against the model catalogue.",
        ) from error
    get_run_logger().info("model %s version %s", found.name, found.version)
    return Foundation(
        name=str(found.name),
        version=str(found.version),
        id=str(found.id),
        tags=_text(found.tags),
        properties=dict(found.properties or {}),
    )


def _get(registry: MLClient, choice: ModelChoice) -> Any:
    if choice.version:
        return registry.models.get(choice.name, version=choice.version)
    return registry.models.get(choice.name, label=choice.label)


def _text(values: dict[str, Any] | None) -> dict[str, str]:
    return {str(key): str(value) for key, value in (values or {}).items()}


@azure_step("Register the fine-tuned model", tags={"azure"})
def register_model(
    settings: Settings, job: str, name: str, version: str, base: Foundation, owner: Ownership
) -> RegisteredModel:
    """Register the job's output as a model of the workspace; adopt the one an earlier try made.

    The path names the job, so Azure keeps the lineage: model, job, base model, data.
    """
    from azure.ai.ml.constants import AssetTypes
    from azure.ai.ml.entities import Model
    from azure.core.exceptions import ResourceNotFoundError

    client = open_client(settings)
    adopted = True
    try:
        found = client.models.get(name, version=version)
    except ResourceNotFoundError:
        adopted = False
        found = client.models.create_or_update(
            Model(
                path=f"azureml://jobs/{job}/outputs/{OUTPUT}",
                type=AssetTypes.MLFLOW_MODEL,
                name=name,
                version=version,
                description=f"{base.name}, fine-tuned for chat completion",
                tags={**owner.tags, "base_model": f"{base.name}:{base.version}", "job": job},
            )
        )
    get_run_logger().info("model %s version %s %s", name, version, "found" if adopted else "made")
    return RegisteredModel(name=name, version=version, id=str(found.id), adopted=adopted)
