"""Gate: which credential answered, for whom, until when, and what it may do."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from tasks.retries import azure_step
from workspace.client import find_credential
from workspace.errors import ResourceMissing
from workspace.findings import Report
from workspace.plan import CredentialFacts
from workspace.rest import get_permissions, get_workspace, token_claims
from workspace.rights import missing_rights, needed_rights
from workspace.settings import Settings
from workspace.types import FineTune

#: azure-identity renews a token by itself where it can; one that ends sooner is worth a word.
SHORT = timedelta(minutes=5)


@azure_step("Gate: credential and rights", tags={"azure", "gate", "plan"})
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
    return "an identity that its token does not name"


def _check_rights(settings: Settings, run: FineTune, who: str, report: Report) -> None:
    from azure.core.exceptions import HttpResponseError

    try:
        entries = get_permissions(settings)
    except HttpResponseError as error:
        report.note(
            f"Azure does not tell what {who} may do here (HTTP {error.status_code}).",
            "The role 'AzureML Data Scientist' on the workspace is enough, but for the cluster.",
        )
        return
    for action, purpose in missing_rights(entries, needed_rights(run)):
        report.error(
            f"{who} may not {purpose} in workspace '{settings.workspace_name}' ({action}).",
            "Have a role assigned that allows it, or run as another identity.",
        )
