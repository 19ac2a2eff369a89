"""The one place that builds a credential, and says whom it stands for."""

from __future__ import annotations

import json
import sys
from base64 import urlsafe_b64decode
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from finetuning.azure.clouds import management_scope
from finetuning.azure.service_errors import first_lines
from finetuning.azure.settings import CredentialChoice, Settings
from finetuning.azure.time_limits import request_limits
from finetuning.errors import (
    CredentialError,
)

if TYPE_CHECKING:
    from azure.core.credentials import TokenCredential


@lru_cache
def find_credential(settings: Settings) -> TokenCredential:
    """Return the configured credential once it has answered; a browser only where a person sits.

    Raises:
        CredentialError: what was tried and what to set.
    """
    from azure.core.exceptions import ClientAuthenticationError

    credential = _credential(settings)
    try:
        credential.get_token(management_scope(settings))
    except (ClientAuthenticationError, ValueError) as error:
        if settings.credential.kind == "default" and sys.stdin is not None and sys.stdin.isatty():
            return _ask_in_a_browser(settings)
        raise CredentialError(
            "No Azure credential answered, and there is no terminal here to log in at. Set "
            "AZURE_CLIENT_ID, AZURE_TENANT_ID and AZURE_CLIENT_SECRET (or a certificate), give the "
            f"machine a managed identity, or run 'az login'. What was tried: {first_lines(error)}"
        ) from error
    return credential


def _credential(settings: Settings) -> TokenCredential:
    import azure.identity as identity

    choice = settings.credential
    match choice.kind:
        case "managed_identity":
            return identity.ManagedIdentityCredential(
                client_id=choice.client_id, **request_limits()
            )
        case "workload_identity":
            return identity.WorkloadIdentityCredential(
                tenant_id=choice.tenant_id, client_id=choice.client_id, **request_limits()
            )
        case "service_principal":
            return _service_principal(choice)
    return identity.DefaultAzureCredential(**request_limits())


def _service_principal(choice: CredentialChoice) -> TokenCredential:
    import azure.identity as identity

    if not (choice.tenant_id and choice.client_id):
        raise CredentialError("A service principal needs tenant_id and client_id. Set both.")
    if choice.client_secret:
        return identity.ClientSecretCredential(
            choice.tenant_id,
            choice.client_id,
            choice.client_secret.get_secret_value(),
            **request_limits(),
        )
    if not choice.certificate_path:
        raise CredentialError(
            "A service principal needs client_secret or certificate_path. Set one of them."
        )
    password = choice.certificate_password
    return identity.CertificateCredential(
        choice.tenant_id,
        choice.client_id,
        choice.certificate_path,
        password=password.get_secret_value() if password else None,
        **request_limits(),
    )


def _ask_in_a_browser(settings: Settings) -> TokenCredential:
    from azure.core.exceptions import ClientAuthenticationError
    from azure.identity import InteractiveBrowserCredential

    credential = InteractiveBrowserCredential()
    try:
        credential.get_token(management_scope(settings))
    except ClientAuthenticationError as error:
        raise CredentialError(
            f"The login in the browser did not succeed: {first_lines(error)}"
        ) from error
    return credential


def token_claims(settings: Settings) -> dict[str, Any]:
    """Return whom the credential stands for and until when: the token's claims, never the token.

    ``exp`` is in unix seconds; the others (``upn``, ``appid``, ``oid``, ``tid``) are text. A token
    that cannot be read gives ``exp`` alone.
    """
    token = find_credential(settings).get_token(management_scope(settings))
    parts = token.token.split(".")
    try:
        padded = parts[1] + "=" * (-len(parts[1]) % 4)
        claims = json.loads(urlsafe_b64decode(padded))
    except (IndexError, ValueError):
        claims = {}
    return {**(claims if isinstance(claims, dict) else {}), "exp": token.expires_on}
