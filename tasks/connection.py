"""Connect: find the settings, prove the credential and its rights, reach workspace and registry."""

from __future__ import annotations

import os
from datetime import UTC, datetime, timedelta
from typing import Any

from prefect import get_run_logger
from prefect.exceptions import ObjectNotFound

from finetuning.azure.client import open_client, open_registry
from finetuning.azure.credentials import find_credential, token_claims
from finetuning.azure.rest import get_permissions, get_workspace
from finetuning.azure.settings import Settings, load_settings
from finetuning.errors import (
    CredentialError,
    CredentialUnavailable,
    ResourceMissing,
    SettingsError,
)
from finetuning.form.context import RunContext
from finetuning.form.run import FineTune
from finetuning.planning.facts import CredentialFacts
from finetuning.planning.findings import Report
from finetuning.planning.rules.rights import missing_rights, needed_rights
from tasks.step import azure_step
from tasks.waiting import BRISK, Patience, wait_until


@azure_step("Connect to the workspace", retries=0)  # it has the patience of a wait instead
def connect(context: RunContext, *, again: bool = False) -> str:
    """Reach the workspace and the registry with the credential that answers; return its region.

    What does not answer is asked again for ``run.deadlines.outage_minutes``. ``again``: the run has
    begun before, with a job that may train: a credential that gives no token then counts as away
    for a while, not as missing.

    Raises:
        ResourceMissing: the workspace is not there.
        CredentialError: no credential answered, or it may not read the workspace.
    """
    settings = context.settings

    def look() -> str:
        try:
            location = str(_workspace(settings)["location"])
            open_client(settings)
            open_registry(settings)
        except CredentialError as error:
            if again:
                raise CredentialUnavailable(str(error)) from error
            raise
        return location

    limits = context.deadlines
    wait = Patience(
        deadline=limits.outage_minutes * 60,
        interval=min(BRISK, limits.poll_seconds),
        outage=limits.outage_minutes * 60,
        parameter="run.deadlines.outage_minutes",
    )
    location = wait_until("Connecting to the workspace", look, bool, wait)
    get_run_logger().info("connected to workspace %s in %s", settings.workspace_name, location)
    return location


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


#: azure-identity renews a token by itself where it can; one that ends sooner is worth a word.
SHORT = timedelta(minutes=5)


@azure_step("Gate: credential and rights")
def check_credential(settings: Settings, run: FineTune) -> CredentialFacts:
    """Say who asks, until when the token lasts, and whether Azure would let a run's steps happen.

    Raises:
        ResourceMissing: the workspace is not there.
    """
    report = Report("credential")
    workspace = _workspace(settings)
    claims = token_claims(settings)
    kind = _kind(find_credential(settings))
    expires = datetime.fromtimestamp(float(claims["exp"]), UTC)
    who = _who(claims)
    report.note(f"{kind} answered for {who}; the token lasts until {expires:%Y-%m-%d %H:%M} UTC.")
    if expires - datetime.now(UTC) < SHORT:
        report.warn(
            f"The token of {who} ends within {SHORT.seconds // 60} minutes.",
            "Make sure that the credential can renew it, or log in again.",
        )
    _check_rights(settings, run, who, report)
    return CredentialFacts(
        kind=kind,
        principal=who,
        expires=expires,
        location=str(workspace["location"]),
        findings=report.findings,
    )


def _workspace(settings: Settings) -> dict[str, Any]:
    from azure.core.exceptions import HttpResponseError

    try:
        return get_workspace(settings)
    except HttpResponseError as error:
        if error.status_code != 404:
            raise
        raise ResourceMissing(
            "Workspace",
            settings.workspace_name,
            f"resource group '{settings.resource_group}' of subscription "
            f"'{settings.subscription_id}'",
            "Check AZURE_WORKSPACE_NAME, AZURE_RESOURCE_GROUP and AZURE_SUBSCRIPTION_ID.",
        ) from error


def _kind(credential: object) -> str:
    """Return which credential answered: of a chain, the link that did."""
    return type(getattr(credential, "_successful_credential", None) or credential).__name__


def _who(claims: dict[str, Any]) -> str:
    for name in ("upn", "unique_name", "preferred_username", "appid", "oid"):
        if claims.get(name):
            return str(claims[name])
    return "an unnamed identity"


def _check_rights(settings: Settings, run: FineTune, who: str, report: Report) -> None:
    from azure.core.exceptions import HttpResponseError

    try:
        entries = get_permissions(settings)
    except HttpResponseError as error:
        report.note(
            f"Azure does not say what {who} may do here (HTTP {error.status_code}).",
            "docs/azure.md lists what a run needs, on the workspace and on the subscription.",
        )
        return
    for action, purpose in missing_rights(entries, needed_rights(run)):
        report.error(
            f"{who} may not {purpose} in workspace '{settings.workspace_name}' ({action}).",
            "Ask for a role that allows it, or use another identity.",
        )
