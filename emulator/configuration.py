"""What one emulator is: its options, and the identity that its state folder keeps over restarts."""

import json
import secrets
import uuid
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

REGION = "westeurope"
TOKEN_LIFETIME_S = 24 * 3600.0


@dataclass(frozen=True)
class Identity:
    """Names and secrets of one emulator, made once and kept in its state folder."""

    id: str = field(default_factory=lambda: secrets.token_hex(4))
    subscription: str = field(default_factory=lambda: str(uuid.uuid4()))
    tenant: str = field(default_factory=lambda: str(uuid.uuid4()))
    principal: str = field(default_factory=lambda: str(uuid.uuid4()))
    resource_group: str = "emulated-group"
    workspace: str = "emulated-workspace"
    registry_group: str = "emulated-registry-group"
    storage_key: str = field(default_factory=lambda: _base64_key())
    token_key: str = field(default_factory=lambda: secrets.token_hex(32))
    client: str = field(default_factory=lambda: str(uuid.uuid4()))
    client_secret: str = field(default_factory=lambda: secrets.token_urlsafe(30))
    identity_header: str = field(default_factory=lambda: secrets.token_urlsafe(24))
    tls_port: int = 0
    proxy_port: int = 0
    plain_port: int = 0


def _base64_key() -> str:
    import base64

    return base64.b64encode(secrets.token_bytes(64)).decode()


@dataclass(frozen=True)
class Configuration:
    """Everything that an emulator is started with."""

    state: Path
    cache: Path
    identity: Identity
    seed: Path | None = None
    profile: str = "fast"
    time_scale: float = 1.0
    weights: str = "tiny"
    preload: bool = False
    latencies: tuple[tuple[str, float], ...] = ()
    event_webhook: str | None = None
    allowed_hosts: tuple[str, ...] = ()
    denied_actions: tuple[str, ...] = ()
    token_lifetime_s: float = TOKEN_LIFETIME_S
    history_page: int = 100
    verify_answers: bool = False

    @property
    def suffix(self) -> str:
        """The reserved domain (RFC 6761) of this emulator's hosts; it resolves nowhere."""
        return f"{self.identity.id}.azureml.test"

    @property
    def cloud(self) -> str:
        return f"AzureMLEmulator-{self.identity.id}"

    @property
    def management_host(self) -> str:
        return f"management.{self.suffix}"

    @property
    def api_host(self) -> str:
        return f"{REGION}.api.{self.suffix}"

    @property
    def login_host(self) -> str:
        """Where tokens are had: Microsoft Entra's place in this cloud."""
        return f"login.{self.suffix}"

    @property
    def studio_host(self) -> str:
        return f"ml.{self.suffix}"

    @property
    def storage_suffix(self) -> str:
        """The storage SDK wants ``.blob.core.`` in a host's name."""
        return f"core.{self.suffix}"

    @property
    def account(self) -> str:
        """The name of the workspace's storage account."""
        return f"emulated{self.identity.id}"

    @property
    def blob_host(self) -> str:
        return f"{self.account}.blob.{self.storage_suffix}"

    @property
    def storage_account_id(self) -> str:
        """The storage account's ARM id."""
        mine = self.identity
        group = f"/subscriptions/{mine.subscription}/resourceGroups/{mine.resource_group}"
        return f"{group}/providers/Microsoft.Storage/storageAccounts/{self.account}"

    @property
    def tracking_uri(self) -> str:
        """Where the workspace's MLflow is."""
        return f"azureml://{self.api_host}/mlflow/v1.0{self.workspace_id}"

    @property
    def tenant_id(self) -> str:
        return self.identity.tenant

    @property
    def signing_key(self) -> bytes:
        return self.identity.token_key.encode()

    @property
    def workspace_id(self) -> str:
        mine = self.identity
        return (
            f"/subscriptions/{mine.subscription}/resourceGroups/{mine.resource_group}"
            f"/providers/Microsoft.MachineLearningServices/workspaces/{mine.workspace}"
        )

    @property
    def audience(self) -> str:
        """What the SDK expects a job's token to be for: made from the portal's host, as it does."""
        return f"https://ml.azure.{self.suffix}"


def load_identity(state: Path) -> Identity:
    """Return the folder's identity; make and keep one where there is none."""
    file = state / "identity.json"
    known = json.loads(file.read_text()) if file.exists() else {}
    identity = Identity(**known)
    if asdict(identity) != known:  # new, or of an emulator that had fewer names
        save_identity(state, identity)
    return identity


def save_identity(state: Path, identity: Identity) -> None:
    """Write the identity so that a kill leaves the old file or the new one; it holds secrets."""
    state.mkdir(parents=True, exist_ok=True)
    part = state / "identity.json.part"
    part.touch(mode=0o600)
    part.write_text(json.dumps(asdict(identity), indent=1))
    part.replace(state / "identity.json")


def environment(config: Configuration) -> dict[str, str]:
    """The variables with which any program that uses the Azure SDK talks to this emulator."""
    mine = config.identity
    plain = f"http://127.0.0.1:{mine.plain_port}"
    bundle = str(config.state / "ca-bundle.pem")
    proxy = f"http://127.0.0.1:{mine.proxy_port}"
    return {
        "AZUREML_CURRENT_CLOUD": config.cloud,
        "ARM_CLOUD_METADATA_URL": (
            f"https://{config.management_host}/metadata/endpoints?api-version=2019-05-01"
        ),
        "REGISTRY_DISCOVERY_ENDPOINT_URL": f"https://{config.api_host}/",
        "HTTPS_PROXY": proxy,
        "https_proxy": proxy,
        "NO_PROXY": "127.0.0.1,localhost",
        "no_proxy": "127.0.0.1,localhost",
        "REQUESTS_CA_BUNDLE": bundle,
        "SSL_CERT_FILE": bundle,  # what aiohttp (adlfs) and httpx read
        "IDENTITY_ENDPOINT": f"{plain}/msi/token",
        "IDENTITY_HEADER": mine.identity_header,
        "AZURE_TOKEN_CREDENTIALS": "ManagedIdentityCredential",
        "AZURE_SUBSCRIPTION_ID": mine.subscription,
        "AZURE_RESOURCE_GROUP": mine.resource_group,
        "AZURE_WORKSPACE_NAME": mine.workspace,
        "HF_ENDPOINT": f"{plain}/hub",
        "EMULATOR_ADMIN_URL": f"{plain}/_emulator",
    }


def signed_in(config: Configuration, how: str, file: Path | None) -> dict[str, str]:
    """The environment in which azure-identity signs in as the service principal.

    ``how`` is secret, certificate or federated; the last two read ``file``.
    """
    values = environment(config)
    for name in ("IDENTITY_ENDPOINT", "IDENTITY_HEADER"):
        del values[name]
    values |= {
        "AZURE_AUTHORITY_HOST": f"https://{config.login_host}",
        "AZURE_TENANT_ID": config.tenant_id,
        "AZURE_CLIENT_ID": config.identity.client,
    }
    if how == "federated":
        return values | {
            "AZURE_TOKEN_CREDENTIALS": "WorkloadIdentityCredential",
            "AZURE_FEDERATED_TOKEN_FILE": str(file),
        }
    values["AZURE_TOKEN_CREDENTIALS"] = "EnvironmentCredential"
    if how == "certificate":
        return values | {"AZURE_CLIENT_CERTIFICATE_PATH": str(file)}
    return values | {"AZURE_CLIENT_SECRET": config.identity.client_secret}


def exported(values: dict[str, Any]) -> str:
    """The variables as lines that a shell evaluates."""
    import shlex

    return "\n".join(f"export {name}={shlex.quote(str(value))}" for name, value in values.items())
