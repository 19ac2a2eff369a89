"""Gate: the foundation model exists, is pinned, and may still be fine-tuned for chat."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from tasks.retries import azure_step
from workspace.cards import read_card
from workspace.client import open_registry
from workspace.findings import Report
from workspace.judging.model import judge_model
from workspace.plan import ModelFacts
from workspace.rest import get_model_version
from workspace.settings import Settings
from workspace.types import Foundation, ModelChoice


@azure_step("Gate: the foundation model", tags={"azure", "gate", "plan"})
def check_model(settings: Settings, choice: ModelChoice) -> ModelFacts:
    """Resolve version or label once for the whole run, and read the card."""
    report = Report("model")
    try:
        version = choice.version or _labelled(settings, choice)
        found = get_model_version(settings, choice.name, version)
    except _not_found() as error:
        if getattr(error, "status_code", 404) not in (None, 404):
            raise
        wanted = f"{choice.name}:{choice.version or choice.label}"
        report.error(
            f"Model '{wanted}' is not in registry '{settings.registry_name}'.",
            "Check run.model.name, version and label against the model catalogue.",
        )
        return ModelFacts(findings=report.findings)
    properties = found.get("properties") or {}
    card = read_card(properties)
    judge_model(f"{choice.name}:{version}", card, choice, datetime.now(UTC).date(), report)
    return ModelFacts(
        foundation=_foundation(choice.name, version, found), card=card, findings=report.findings
    )


def _not_found() -> tuple[type[Exception], ...]:
    """Return what a missing model looks like: 404, or the SDK's own refusal of a label."""
    from azure.ai.ml.exceptions import MlException
    from azure.core.exceptions import HttpResponseError

    return (HttpResponseError, MlException)


def _labelled(settings: Settings, choice: ModelChoice) -> str:
    found = open_registry(settings).models.get(choice.name, label=choice.label)
    return str(found.version)


def _foundation(name: str, version: str, found: dict[str, Any]) -> Foundation:
    properties = found.get("properties") or {}
    return Foundation(
        name=name,
        version=version,
        id=str(found["id"]),
        tags={str(key): str(value) for key, value in (properties.get("tags") or {}).items()},
        properties=dict(properties.get("properties") or {}),
    )
