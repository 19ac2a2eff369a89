"""Models: the foundation model of the registry, and the fine-tuned one with its lineage."""

from __future__ import annotations

import re
from difflib import get_close_matches
from itertools import islice
from typing import Any

from prefect import get_run_logger
from prefect.assets import Asset, AssetProperties, add_asset_metadata, materialize
from prefect.cache_policies import NO_CACHE

from finetuning.azure.client import open_client, open_registry
from finetuning.azure.rest import get_model_version, registry_url
from finetuning.azure.service_errors import look_up, service_errors
from finetuning.azure.settings import Settings
from finetuning.errors import FineTuneError, ServiceError
from finetuning.form.context import RunContext
from finetuning.form.results import Foundation, RegisteredModel, Result
from finetuning.form.run import ModelChoice
from finetuning.planning.facts import ModelFacts
from finetuning.planning.findings import Report
from finetuning.planning.lifecycle import todays_calendar
from finetuning.planning.model_card import read_card
from finetuning.planning.plan import Plan
from finetuning.planning.rules.model import check_model_card
from finetuning.recipes import find_recipe
from tasks.step import azure_step

#: Of how many models of a registry the nearest name is looked for.
MOST_LISTED = 3000


@azure_step("Gate: the foundation model")
def check_model(
    settings: Settings, choice: ModelChoice, recipe: str = "chat_completion"
) -> ModelFacts:
    """Resolve version or label once for the whole run, and read the card."""
    report, registry = Report("model"), settings.with_registry(choice.registry)
    try:
        version = choice.version or _labelled(registry, choice)
        found = get_model_version(registry, choice.name, version)
    except _not_found() as error:
        status = getattr(error, "status_code", getattr(error, "status", 404))
        if status not in (None, 404):
            raise
        _say_missing(registry, choice, report)
        return ModelFacts(findings=report.findings)
    properties = found.get("properties") or {}
    card = read_card(properties)
    kind = str(properties.get("modelType") or "mlflow_model")
    if kind not in find_recipe(recipe).model_inputs:
        report.error(
            f"{choice.name}:{version} is of type '{kind}', which the component takes by no input.",
            f"Choose a model of type {' or '.join(find_recipe(recipe).model_inputs)}.",
        )
    calendar = todays_calendar()
    check_model_card(choice, version, card, find_recipe(recipe), calendar, report)
    return ModelFacts(
        foundation=_foundation(choice.name, version, found), card=card, findings=report.findings
    )


def _say_missing(settings: Settings, choice: ModelChoice, report: Report) -> None:
    """Say what is not there: the model, or its registry."""
    from azure.core.exceptions import HttpResponseError

    try:
        registry_url(settings)
    except HttpResponseError as error:
        if error.status_code != 404:
            raise
        report.error(
            f"Registry '{settings.registry_name}' is not there.",
            "Check run.model.registry, and AZURE_REGISTRY_NAME, which counts where it is empty.",
        )
        return
    wanted, near = f"{choice.name}:{choice.version or choice.label}", _nearest(settings, choice)
    report.error(
        f"Model '{wanted}' is not in registry '{settings.registry_name}'.",
        f"{f'Did you mean {near}? ' if near else ''}"
        "Check run.model.name, version, label and registry against the model catalogue.",
    )


def _nearest(settings: Settings, choice: ModelChoice) -> str | None:
    """Return the name in the registry that is most like one that is not there.

    None where there is none like it, where the name is there and its version is not, and where the
    registry does not list its models: this is a comfort.
    """
    try:
        with service_errors("List the models of the registry"):
            listing = open_registry(settings).models.list()
            names = {str(one.name) for one in islice(listing, MOST_LISTED)}
    except FineTuneError:
        return None
    by_letters = {name.lower(): name for name in sorted(names)}
    near = get_close_matches(choice.name.lower(), by_letters, n=1)
    return by_letters[near[0]] if near and choice.name not in names else None


def _not_found() -> tuple[type[Exception], ...]:
    """Return what a missing model or registry looks like: 404, or the SDK's refusal of a label."""
    from azure.ai.ml.exceptions import MlException
    from azure.core.exceptions import HttpResponseError

    return (HttpResponseError, MlException, ServiceError)


def _labelled(settings: Settings, choice: ModelChoice) -> str:
    found = open_registry(settings).models.get(choice.name, label=choice.label)
    return str(found.version)


def _foundation(name: str, version: str, found: dict[str, Any]) -> Foundation:
    properties = found.get("properties") or {}
    return Foundation(
        name=name,
        version=version,
        id=str(found["id"]),
        type=str(properties.get("modelType") or "mlflow_model"),
        tags={str(key): str(value) for key, value in (properties.get("tags") or {}).items()},
        properties=dict(properties.get("properties") or {}),
    )


@azure_step("Register the fine-tuned model")
def register_model(context: RunContext, plan: Plan, job: str) -> RegisteredModel:
    """Register the job's output as a model of the workspace; adopt the one an earlier try made.

    The path names the job, so Azure keeps the lineage: model, job, base model, data.
    """
    from azure.ai.ml.constants import AssetTypes
    from azure.ai.ml.entities import Model

    client, base, new = open_client(context.settings), plan.job.model, plan.registration
    recipe = find_recipe(plan.recipe)
    model = look_up(client.models.get, new.name, version=new.version)
    adopted = model is not None
    if model is None:
        tags = {"base_model": f"{base.name}:{base.version}", "job": job}
        model = client.models.create_or_update(
            Model(
                path=f"azureml://jobs/{job}/outputs/{recipe.job_output}",
                type=AssetTypes.MLFLOW_MODEL,
                name=new.name,
                version=new.version,
                description=f"{base.name}, fine-tuned for {recipe.title}",
                tags={**context.owner.tags, **tags},
            )
        )
    done = "is there already" if adopted else "is registered"
    get_run_logger().info("model %s version %s %s", new.name, new.version, done)
    return RegisteredModel(name=new.name, version=new.version, id=str(model.id), adopted=adopted)


def record_lineage(settings: Settings, result: Result) -> None:
    """Say that the registered model was made of the base model and the prepared data.

    Prefect shows assets by their keys, which are Azure's own ids.
    """
    base = Asset(key=_key(result.model.id))
    source = "files" if result.data.choice.files else f"hf://{result.data.dataset}"
    data = Asset(
        key=_key(f"{source}/{result.data.commit}"),  # a list of files would be too long for a key
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
        losses = {"loss_first": result.metrics.loss_first, "loss_last": result.metrics.loss_last}
        attempts = [one.job for one in result.attempts]
        about = {"job": result.job.name, "attempts": attempts, "rows": result.data.rows}
        add_asset_metadata(model, {**about, **losses})

    recorded()


def _key(name: str) -> str:
    """Return a text as an asset's key: a URI without spaces."""
    uri = name if "://" in name else f"azureml://{name.lstrip('/')}"
    return re.sub(r"[^\w./:@-]", "-", uri)
