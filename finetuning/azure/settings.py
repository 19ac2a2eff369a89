"""Where the workspace is: the environment, then ``.env``, ``config.json``, and what a caller adds.

Settings say where, flow parameters say what. Nothing here is a secret: credentials are found by
azure-identity from its own variables (``AZURE_CLIENT_ID`` and so on) or the machine's identity.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Literal

from dotenv import dotenv_values
from pydantic import BaseModel, ConfigDict, Field, SecretStr, ValidationError
from pydantic_settings import (
    BaseSettings,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
)
from pydantic_settings import SettingsError as UnreadableValue

from finetuning.errors import SettingsError

CONFIG_PLACES = ("config.json", ".azureml/config.json", "aml_config/config.json")

#: In the environment only: another file than ``.env`` of the current folder; ``/dev/null`` is none.
ENV_FILE = "FINETUNE_ENV_FILE"
#: Variables of ours that are no setting of the connection.
OF_OTHER_PARTS = (
    *("FINETUNE_BLOCK", "FINETUNE_DATA", "FINETUNE_EVENTS_KEY"),
    *("FINETUNE_LIFECYCLE", "FINETUNE_PRICES"),
)


class CredentialChoice(BaseModel):
    """Which credential of azure-identity to use; its secrets never show in a text or a log."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: Literal["default", "managed_identity", "workload_identity", "service_principal"] = Field(
        "default", description="default: azure-identity's default chain."
    )
    tenant_id: str | None = Field(None, description="Tenant of a service principal.")
    client_id: str | None = Field(
        None, description="Client id of a service principal or of a user-assigned identity."
    )
    client_secret: SecretStr | None = Field(None, description="A service principal's secret.")
    certificate_path: str | None = Field(
        None, description="A service principal's certificate (PEM or PKCS12), instead of a secret."
    )
    certificate_password: SecretStr | None = Field(None, description="The certificate's password.")


class Settings(BaseSettings):
    """The connection to one workspace and one registry."""

    model_config = SettingsConfigDict(
        frozen=True, extra="ignore", populate_by_name=True, env_ignore_empty=True
    )

    subscription_id: str = Field(
        alias="AZURE_SUBSCRIPTION_ID", min_length=1, description="The Azure subscription's id."
    )
    resource_group: str = Field(
        alias="AZURE_RESOURCE_GROUP", min_length=1, description="The workspace's resource group."
    )
    workspace_name: str = Field(
        alias="AZURE_WORKSPACE_NAME", min_length=1, description="The Azure ML workspace."
    )
    registry_name: str = Field(
        "azureml",
        alias="AZURE_REGISTRY_NAME",
        description="The registry with the pipeline component, and with the foundation model where "
        "the run names no other.",
    )
    cloud: str = Field(
        "AzureCloud",
        alias="AZUREML_CURRENT_CLOUD",
        description="AzureCloud, AzureChinaCloud, AzureUSGovernment, or a private cloud's name.",
    )
    metadata_url: str | None = Field(
        None,
        alias="ARM_CLOUD_METADATA_URL",
        description="Where a sovereign or private cloud describes itself.",
    )
    registry_discovery_url: str | None = Field(
        None,
        alias="REGISTRY_DISCOVERY_ENDPOINT_URL",
        description="Where registries of a private cloud are looked up.",
    )
    storage_hosts: str = Field(
        "",
        alias="FINETUNE_STORAGE_HOSTS",
        description="Hosts beside the cloud's own blob storage that the credential's token may be "
        "sent to, with commas between them: a custom domain of your own account.",
    )
    credential: CredentialChoice = Field(
        default_factory=CredentialChoice,
        alias="FINETUNE_CREDENTIAL",
        description="JSON with 'kind' and what that kind needs; by default azure-identity's chain.",
    )

    def with_registry(self, name: str) -> Settings:
        """Return the connection to another registry; to this one where the name is empty."""
        return self.model_copy(update={"registry_name": name}) if name else self

    @classmethod
    def settings_customise_sources(  # type: ignore[override]  # names only those it uses
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        **others: PydanticBaseSettingsSource,  # no secrets folder
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Put the environment first: what a caller passes fills the gaps only."""
        del settings_cls, others
        return (env_settings, dotenv_settings, init_settings)


def load_settings(
    block: Mapping[str, Any] | None = None, *, folder: Path | None = None
) -> Settings:
    """Return the settings, each from the first place that has it.

    The places: the environment, ``.env`` of ``folder`` (by default the current one), the nearest
    ``config.json`` (Azure's own format, looked for from ``folder`` upwards), then ``block``.

    Raises:
        SettingsError: what is missing, and the four ways to set it; or which value is wrong.
    """
    folder = folder or Path.cwd()
    read_env_file(folder)  # refuses a misspelt name
    fallback = {**_by_alias(block or {}), **_by_alias(read_config(folder))}
    try:
        return Settings(_env_file=find_env_file(folder), _env_file_encoding="utf-8", **fallback)
    except ValidationError as error:
        raise SettingsError(_explained(error)) from None
    except UnreadableValue:  # the only value that is more than text
        raise SettingsError(
            'FINETUNE_CREDENTIAL is not JSON. Write it as {"kind": "managed_identity"}.'
        ) from None


def _explained(error: ValidationError) -> str:
    """Return what is missing or wrong, without the values: one may be a secret."""
    lines = error.errors(include_input=False)
    wrong = [
        f"{'.'.join(str(part) for part in line['loc'])}: {line['msg']}."
        for line in lines
        if line["type"] != "missing"
    ]
    if wrong:
        return f"The workspace connection is wrong: {' '.join(wrong)}"
    missing = ", ".join(str(line["loc"][0]) for line in lines)
    return (
        f"The workspace connection lacks {missing}. Set it in the environment, in .env, in "
        "config.json (the studio offers it for download), or in a Prefect block."
    )


def find_env_file(folder: Path) -> Path | None:
    """Return the file of variables: ``.env`` of the folder, or the one that ENV_FILE names.

    Raises:
        SettingsError: the file that ENV_FILE names is not there.
    """
    named = os.environ.get(ENV_FILE)
    path = folder / (named or ".env")
    if named and not path.exists():
        raise SettingsError(f"{ENV_FILE} names {path}, which does not exist.")
    return path if path.is_file() else None


def read_env_file(folder: Path | None = None) -> dict[str, str]:
    """Return the variables of ``.env``, whoever reads them; an empty one is a missing one.

    Raises:
        SettingsError: the file is not text, or a name of ours in it is misspelt.
    """
    path = find_env_file(folder or Path.cwd())
    if path is None:
        return {}
    try:
        values = dotenv_values(path, encoding="utf-8")
    except ValueError as error:
        raise SettingsError(f"{path} is not UTF-8 text: {error}.") from None
    for name in values:
        _refuse_misspelt(name, path)
    return {name: value for name, value in values.items() if value}


def _refuse_misspelt(name: str, path: Path) -> None:
    ours = [*(str(field.alias) for field in Settings.model_fields.values()), *OF_OTHER_PARTS]
    if name in ours or not name.startswith(("FINETUNE_", "AZUREML_")):
        return
    near = get_close_matches(name, ours, n=1, cutoff=0.8)
    if near:
        raise SettingsError(f"{path}: {name} is not a setting. Did you mean {near[0]}?")
    if name.startswith("FINETUNE_"):  # the SDK has more variables AZUREML_...
        raise SettingsError(f"{path}: {name} is not a setting. See .env.example for all of them.")


def read_config(folder: Path) -> dict[str, str]:
    """Return the nearest config.json of ``folder`` or above, or nothing."""
    for place in [folder, *folder.parents]:
        for name in CONFIG_PLACES:
            if (place / name).is_file():
                return _parse(place / name)
    return {}


def _parse(path: Path) -> dict[str, str]:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise SettingsError(
            f"{path} is not JSON: {error}. Download it from the studio again."
        ) from None
    if not isinstance(found, dict):
        raise SettingsError(f"{path} is not a JSON object. Download it from the studio again.")
    return {str(key): str(value) for key, value in found.items()}


def _by_alias(values: Mapping[str, Any]) -> dict[str, Any]:
    aliases = {name: str(field.alias) for name, field in Settings.model_fields.items()}
    return {aliases[key]: value for key, value in values.items() if key in aliases and value}
