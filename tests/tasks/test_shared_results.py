"""Results on Azure blob: what one worker has prepared, another one does not prepare again."""

from __future__ import annotations

import shutil
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from azure.storage.blob import BlobServiceClient

from emulator.configuration import load_identity
from tests.conftest import RunningEmulator, environment, run_python
from tests.tasks.test_data import hub_traffic

pytestmark = pytest.mark.slow

WORKER = """
import sys
from prefect import flow
from tasks.data_assets import fetch_data, upload_data
from tasks.data import preparation
from finetuning.form.context import RunContext
from finetuning.form.data import DataChoice
from finetuning.form.run import Deadlines
from finetuning.azure.settings import load_settings
from finetuning.azure.ownership import Ownership

@flow
def work():
    settings = load_settings()
    wanted = DataChoice(splits=("test_gen",), seed=int(sys.argv[1]))
    state = preparation(wanted)(wanted, settings, return_state=True)
    prepared = state.result()
    owner = Ownership(flow_run_id="run", key="key", tags={})
    context = RunContext(settings=settings, owner=owner, deadlines=Deadlines())
    upload_data(context, prepared)
    return state.name, fetch_data(context, prepared, "test_gen").path

print(*work(), sep="|")
"""
KEEP = """
from prefect_azure import AzureBlobStorageCredentials
from prefect_azure.blob_storage import AzureBlobStorageContainer
import sys

credentials = AzureBlobStorageCredentials(account_url=sys.argv[1])
AzureBlobStorageContainer(container_name="results", credentials=credentials).save("results")
"""


@dataclass
class Workers:
    """Machines that share a Prefect server and the container of results, and no disk."""

    folder: Path

    def work(self, name: str, seed: int) -> tuple[str, Path]:
        """Prepare the data as one of them; the task's state, and where the file is."""
        own = {
            "PREFECT_RESULTS_DEFAULT_STORAGE_BLOCK": "azure-blob-storage-container/results",
            "PREFECT_LOCAL_STORAGE_PATH": str(self.folder / name / "results"),
            "FINETUNE_DATA": str(self.folder / name / "data"),
        }
        state, path = python(own, "-c", WORKER, str(seed)).splitlines()[-1].split("|")
        return state, Path(path)


def python(env: dict[str, str], *arguments: str) -> str:
    done = run_python(env, *arguments, seconds=180)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture
def workers(azure_env: RunningEmulator, prefect_server: None, tmp_path: Path) -> Iterator[Workers]:
    """The block of docs/operations.md, kept in the emulator's storage account."""
    from prefect.settings import PREFECT_API_URL

    identity = load_identity(azure_env.state)
    address = f"https://emulated{identity.id}.blob.core.{identity.id}.azureml.test"
    with environment({"PREFECT_API_URL": str(PREFECT_API_URL.value())}):
        with BlobServiceClient(address, credential=identity.storage_key) as service:
            service.create_container("results")
        python({}, "-m", "prefect", "block", "register", "--module", "prefect_azure")
        python({}, "-c", KEEP, address)
        yield Workers(tmp_path)


def test_a_second_worker_with_shared_results_prepares_nothing(workers: Workers) -> None:
    seed = uuid.uuid4().int % 2**40
    first_state, first = workers.work("one", seed)
    content, asked = first.read_bytes(), hub_traffic()
    shutil.rmtree(workers.folder / "one")  # another machine does not have it

    second_state, second = workers.work("two", seed)

    assert (first_state, second_state) == ("Completed", "Cached")
    assert hub_traffic() == asked + 1
    assert second.read_bytes() == content
    assert second.is_relative_to(workers.folder / "two")
