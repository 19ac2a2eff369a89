"""Lineage: which model came from which base model and which data, as Prefect assets."""

from __future__ import annotations

import re

from prefect.assets import Asset, AssetProperties, add_asset_metadata, materialize
from prefect.cache_policies import NO_CACHE

from tasks.retries import put_on_tags
from workspace.settings import Settings
from workspace.types import Result


def record_lineage(settings: Settings, result: Result) -> None:
    """Say that the registered model was made of the base model and the prepared data.

    Prefect shows assets by their keys, which are Azure's own ids.
    """
    base = Asset(key=_key(result.model.id))
    data = Asset(
        key=f"hf://{result.data.dataset}/{result.data.commit}",
        properties=AssetProperties(name=f"{result.data.dataset} at {result.data.commit[:12]}"),
    )
    workspace = f"{settings.subscription_id}/{settings.resource_group}/{settings.workspace_name}"
    registered = result.registered
    model = Asset(
        key=_key(f"azureml://{workspace}/models/{registered.name}/{registered.version}"),
        properties=AssetProperties(
            name=f"{registered.name} {registered.version}", url=result.job.studio_url or None
        ),
    )

    @materialize(
        model,
        by="azure-ml",
        name="Record the lineage",
        asset_deps=[base, data],
        cache_policy=NO_CACHE,
    )
    def recorded() -> None:
        put_on_tags({"report"})  # as every step's: Prefect's server is not asked for their slots
        losses = {"loss_first": result.metrics.loss_first, "loss_last": result.metrics.loss_last}
        add_asset_metadata(model, {"job": result.job.name, "rows": result.data.rows, **losses})

    recorded()


def _key(name: str) -> str:
    """Return a text as an asset's key: a URI without spaces."""
    uri = name if "://" in name else f"azureml://{name.lstrip('/')}"
    return re.sub(r"[^\w./:@-]", "-", uri)
