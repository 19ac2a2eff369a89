"""The one place that builds a credential and an ``MLClient``.

The SDK keeps the current cloud in ``os.environ`` and its clouds in a module's dictionary, so a
client built elsewhere, without ``cloud=``, could go to another cloud than this one: nothing but
this module builds one. A private cloud's metadata is fetched once a process and handed over, since
the SDK would fetch it anew for every operation (measured: ``jobs.get`` 8 ms against 51 ms).
"""

from __future__ import annotations

import logging
import os
import sys
import threading
from importlib import import_module
from typing import TYPE_CHECKING, Any

from finetuning.azure.clouds import PUBLIC_CLOUDS, cloud_metadata
from finetuning.azure.credentials import find_credential
from finetuning.azure.service_errors import service_errors
from finetuning.azure.settings import Settings
from finetuning.azure.time_limits import request_limits
from finetuning.errors import (
    ServiceError,
)

if TYPE_CHECKING:
    from azure.ai.ml import MLClient


_per_thread = threading.local()


_sdk_state = threading.Lock()


def open_client(settings: Settings) -> MLClient:
    """Return a client of the workspace; the same thread gets the same one.

    The SDK's clients share HTTP sessions that are not documented as thread-safe, and a second
    client costs 8 ms, so threads do not share.

    Raises:
        CredentialError: no credential answered.
        SettingsError: the cloud is unknown.
    """
    return _opened(settings, "workspace")


def open_registry(settings: Settings) -> MLClient:
    """Return a client of the registry; the same thread gets the same one."""
    return _opened(settings, "registry")


def _opened(settings: Settings, kind: str) -> MLClient:
    clients: dict[tuple[Settings, str], MLClient] = _per_thread.__dict__.setdefault("clients", {})
    if (settings, kind) not in clients:
        clients[(settings, kind)] = _build(settings, kind)
    return clients[(settings, kind)]


def import_sdk() -> None:
    """Import the SDK, which asks for a private cloud's addresses while it is imported.

    Where nobody answers it raises what it makes of that, and half of its modules stay behind, with
    which no later import succeeds. They are forgotten, so that the next one begins anew.

    The SDK imports mlflow in the middle of a call, and mlflow configures the process's logging: it
    closes every handler and waits for each one's lock while it holds the lock of ``logging``
    itself. A thread that logs to Prefect at that moment takes the two the other way round, and both
    wait for ever (seen: a run that hung beside its endpoint). So mlflow is told not to.
    """
    os.environ.setdefault("MLFLOW_CONFIGURE_LOGGING", "false")
    with _sdk_state:
        try:
            import azure.ai.ml  # noqa: F401
        except BaseException:
            for name in [one for one in sys.modules if one.startswith("azure.ai.ml")]:
                del sys.modules[name]
            raise


def _load_sdk(settings: Settings) -> None:
    """Import the SDK.

    Raises:
        SettingsError: the metadata does not name the cloud.
        ServiceError: it does, but did not answer in time; transient.
    """
    try:
        import_sdk()
    except ImportError:
        raise
    except Exception as error:  # whatever the SDK makes of a missing answer
        if settings.cloud not in PUBLIC_CLOUDS:
            cloud_metadata(settings)
        raise ServiceError("Load Azure's SDK", None, type(error).__name__, str(error)) from error


def _build(settings: Settings, kind: str) -> MLClient:
    _load_sdk(settings)
    from azure.ai.ml import MLClient

    # It warns that its own classes are experimental, each once a process, in every run's log.
    logging.getLogger("azure.ai.ml._utils._experimental").setLevel(logging.ERROR)

    options: dict[str, Any] = {
        "cloud": settings.cloud,
        "enable_telemetry": False,
        "show_progress": False,
        **request_limits(),
    }
    if settings.cloud not in PUBLIC_CLOUDS:
        options["cloud_metadata"] = cloud_metadata(settings)
    if kind == "registry":
        options["registry_name"] = settings.registry_name
    else:
        options["subscription_id"] = settings.subscription_id
        options["resource_group_name"] = settings.resource_group
        options["workspace_name"] = settings.workspace_name
    credential = find_credential(settings)
    with _sdk_state, service_errors(f"Open the {kind}"):
        return MLClient(credential, **options)


def preload() -> None:
    """Import what the way to Azure and to the data needs: 3 s, best spent beside another wait."""
    import_sdk()
    for name in ("azure.identity", "huggingface_hub", "pyarrow.parquet"):
        import_module(name)
