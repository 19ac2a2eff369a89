"""The way into a workspace, with the real credential chain over TLS: what works, what is said."""

from __future__ import annotations

import subprocess
import sys
from io import StringIO

import pytest

from finetuning.azure.client import open_client, open_registry
from finetuning.azure.clouds import management_scope
from finetuning.azure.run_history import get_steps, history_url
from finetuning.azure.service_errors import service_errors
from finetuning.azure.settings import Settings
from finetuning.errors import CredentialError, SettingsError
from tests.conftest import ROOT, RunningEmulator, environment, run_python


@pytest.fixture(autouse=True)
def nobody_at_the_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", StringIO())


def test_without_a_credential_and_a_terminal_it_says_what_to_set(settings: Settings) -> None:
    with environment({"IDENTITY_HEADER": "wrong"}), pytest.raises(CredentialError) as error:
        open_client(settings.model_copy(update={"workspace_name": "another"}))

    assert "AZURE_CLIENT_ID" in str(error.value)
    assert "az login" in str(error.value)


def test_a_token_that_is_refused_is_told_in_the_identity_endpoints_words(
    settings: Settings, azure_env: RunningEmulator
) -> None:
    from azure.identity import ManagedIdentityCredential

    azure_env.add_fault(
        kind="status", path="/msi/token", status=403, times=0, message="the identity is gone"
    )

    with (
        pytest.raises(CredentialError, match=r"Submit: no token .* 403, the identity is gone"),
        service_errors("Submit"),
    ):
        ManagedIdentityCredential().get_token(management_scope(settings))
    azure_env.clear_faults()


def test_a_refused_discovery_document_is_told_with_its_status(
    settings: Settings, azure_env: RunningEmulator
) -> None:
    history_url.cache_clear()
    azure_env.add_fault(
        kind="status", path="/discovery/workspaces/", status=403, times=0, message="not for you"
    )

    with (
        pytest.raises(CredentialError, match=r"Look: Azure returned HTTP 403 .*not for you"),
        service_errors("Look"),
    ):
        get_steps(settings, "a-job")
    azure_env.clear_faults()


def test_a_cloud_that_the_metadata_does_not_name_is_refused(settings: Settings) -> None:
    wrong = settings.model_copy(update={"cloud": "AzureMoonCloud"})

    with pytest.raises(SettingsError, match="AzureMoonCloud") as error:
        open_client(wrong)

    assert settings.cloud in str(error.value)


def test_an_unknown_registry_is_an_error_of_its_own(settings: Settings) -> None:
    wrong = settings.model_copy(update={"registry_name": "no-such-registry"})

    with pytest.raises(Exception, match="no-such-registry"):
        open_registry(wrong)


def test_the_same_thread_gets_the_same_client(settings: Settings) -> None:
    assert open_client(settings) is open_client(settings)


def test_an_outage_while_the_sdk_is_imported_is_passing(azure_env: RunningEmulator) -> None:
    """The SDK asks for its cloud while it is imported, and would be left half imported."""
    azure_env.add_fault(kind="status", status=500, path="/metadata/endpoints", times=1)
    program = (
        "from finetuning.azure.client import open_client\n"
        "from finetuning.errors import ServiceError\n"
        "from finetuning.azure.settings import load_settings\n"
        "try:\n"
        "    open_client(load_settings())\n"
        "except ServiceError as error:\n"
        "    print(error.transient)\n"
        "client = open_client(load_settings())\n"
        "print(client.workspaces.get(client.workspace_name).name)\n"
    )

    done = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, timeout=60
    )

    assert done.stdout.split() == ["True", azure_env.env["AZURE_WORKSPACE_NAME"]], done.stderr


IMPORTS_WHILE_ANOTHER_THREAD_LOGS = """
import logging, threading
from finetuning.azure.client import open_client
from finetuning.azure.settings import load_settings

handler = logging.StreamHandler()
logging.getLogger("a step that logs").addHandler(handler)
client = open_client(load_settings())
handler.acquire()  # as a thread does that writes a line
reading = threading.Thread(target=lambda: client.workspaces.get(client.workspace_name), daemon=True)
reading.start()
reading.join(120)
print("mlflow" in __import__("sys").modules, reading.is_alive())
"""


def test_the_import_of_mlflow_waits_for_no_thread_that_logs(azure_env: RunningEmulator) -> None:
    """It would hold the lock of ``logging`` meanwhile, which that thread may need: a deadlock."""
    done = run_python(azure_env.env, "-c", IMPORTS_WHILE_ANOTHER_THREAD_LOGS, seconds=180)

    assert done.stdout.strip() == "True False", done.stderr
