"""The deployments of ``prefect.yaml``, as Prefect's own objects."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import yaml
from prefect.client.schemas.objects import ConcurrencyLimitConfig
from prefect.deployments.runner import RunnerDeployment
from prefect.flows import load_flow_from_entrypoint
from prefect.schedules import Cron, Schedule

from deployments.local_stack import ROOT

DECLARATION = ROOT / "prefect.yaml"


def declarations() -> list[dict[str, Any]]:
    """Return what ``prefect.yaml`` declares, one mapping a deployment."""
    return list(yaml.safe_load(DECLARATION.read_text(encoding="utf-8"))["deployments"])


def runner_deployments(preset: str | None = None) -> Iterator[RunnerDeployment]:
    """Yield each declared deployment, to be served by this process instead of a work pool.

    ``preset`` counts where a run does not name one; None: the form's own default.
    """
    for one in declarations():
        if preset is not None and "run" in one["parameters"]:
            one["parameters"] = {"run": {"preset": preset, **one["parameters"]["run"]}}
            one["description"] += (
                f"\nOn this server the preset is `{preset}` unless you change it.\n"
            )
        limit = one.get("concurrency_limit")
        yield load_flow_from_entrypoint(one["entrypoint"]).to_deployment(  # type: ignore[misc]
            name=one["name"],
            description=one["description"],
            version=one["version"],
            tags=one["tags"],
            parameters=one["parameters"],
            enforce_parameter_schema=one["enforce_parameter_schema"],
            concurrency_limit=ConcurrencyLimitConfig(**limit) if limit else None,
            # None leaves schedules made by hand alone; Prefect will take [] for "remove them".
            schedules=[_schedule(entry) for entry in one.get("schedules", [])] or None,
        )


def _schedule(entry: dict[str, Any]) -> Schedule:
    return Cron(
        entry["cron"], timezone=entry["timezone"], active=entry["active"], slug=entry["slug"]
    )
