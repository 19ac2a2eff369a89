"""The storage account of an emulator that runs, by the real azure-storage-blob."""

import httpx
import pytest
from azure.storage.blob import BlobServiceClient

from emulator.configuration import load_identity
from tests.conftest import environment


@pytest.fixture(scope="module")
def account(shared_emulator):
    """Name, key and address of the emulator's storage account; the environment points at it."""
    identity = load_identity(shared_emulator.state)
    name = f"emulated{identity.id}"
    host = f"{name}.blob.core.{identity.id}.azureml.test"
    with environment(shared_emulator.env):
        yield name, identity.storage_key, f"https://{host}"


@pytest.fixture(scope="module")
def service(account):
    with BlobServiceClient(account[2], credential=account[1]) as found:
        yield found


@pytest.fixture
def container(service, request):
    """A container of the test's own."""
    name = f"t{abs(hash(request.node.name)):x}"[:20]
    with service.create_container(name) as found:
        yield found
        found.delete_container()


@pytest.fixture(scope="module")
def http(account, shared_emulator):
    import ssl

    context = ssl.create_default_context(cafile=shared_emulator.env["REQUESTS_CA_BUNDLE"])
    proxy = shared_emulator.env["HTTPS_PROXY"]
    with httpx.Client(trust_env=False, proxy=proxy, verify=context, base_url=account[2]) as found:
        yield found
