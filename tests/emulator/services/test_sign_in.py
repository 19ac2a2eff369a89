"""A service principal signs in by azure-identity's own code, and the SDK works with its token."""

import subprocess
import sys

import httpx
import pytest
from azure.core.exceptions import ClientAuthenticationError

from emulator.configuration import Configuration, load_identity
from emulator.services.identity import principal
from tests.conftest import ROOT, environment

FIRST = [sys.executable, "-m", "emulator", "env", "--format", "json", "--state"]


@pytest.fixture(scope="module")
def cloud(shared_emulator):
    """The emulator's configuration; the environment leads to it."""
    state = shared_emulator.state
    with environment(shared_emulator.env):
        yield Configuration(state, state / "cache", load_identity(state))


def credential(cloud, how, **other):
    """A credential of azure-identity; ``other`` replaces what it would sign in with."""
    from azure import identity

    place = {
        "authority": f"https://{cloud.login_host}",
        "disable_instance_discovery": True,  # as for any cloud that is not Microsoft's own
    }
    tenant = other.get("tenant", cloud.tenant_id)
    client = other.get("client", cloud.identity.client)
    if how == "secret":
        secret = other.get("secret", cloud.identity.client_secret)
        return identity.ClientSecretCredential(tenant, client, secret, **place)
    if how == "certificate":
        file = other.get("file", principal.certificate_file(cloud))
        return identity.CertificateCredential(tenant, client, str(file), **place)
    file = other.get("file") or principal.workload_token_file(cloud, other["now"])
    return identity.WorkloadIdentityCredential(
        tenant_id=tenant, client_id=client, token_file_path=str(file), **place
    )


def refused(signing_in, scope):
    with pytest.raises(ClientAuthenticationError) as caught:
        signing_in.get_token(scope)
    return str(caught.value)


@pytest.fixture
def scope(cloud):
    return f"https://{cloud.management_host}/.default"


@pytest.mark.parametrize("how", ["secret", "certificate", "federated"])
def test_a_service_principal_signs_in_and_the_sdk_works_with_it(cloud, how):
    import time

    from azure.ai.ml import MLClient
    from azure.storage.blob import BlobServiceClient

    mine = cloud.identity
    with credential(cloud, how, now=time.time()) as signed:
        client = MLClient(
            signed, mine.subscription, mine.resource_group, mine.workspace, cloud=cloud.cloud
        )
        found = client.workspaces.get(mine.workspace)
        with BlobServiceClient(f"https://{cloud.blob_host}", credential=signed) as blobs:
            names = [one.name for one in blobs.list_containers()]

    assert found.name == mine.workspace
    assert "azureml" in names


WRONG = [
    ({"secret": "wrong"}, "AADSTS7000215"),
    ({"client": "11111111-2222-3333-4444-555555555555"}, "AADSTS700016"),
]


@pytest.mark.parametrize(("other", "code"), WRONG)
def test_a_wrong_secret_or_application_is_refused_by_its_code(cloud, scope, other, code):
    with credential(cloud, "secret", **other) as signing_in:
        assert code in refused(signing_in, scope)


def test_a_certificate_that_is_not_registered_is_refused(cloud, scope, tmp_path):
    other = Configuration(tmp_path, tmp_path, cloud.identity)
    file = principal.certificate_file(other)
    with credential(cloud, "certificate", file=file) as signing_in:
        assert "AADSTS700027" in refused(signing_in, scope)


def test_a_workload_token_of_another_issuer_or_of_yesterday_is_refused(cloud, scope, tmp_path):
    import time

    other = Configuration(tmp_path, tmp_path, cloud.identity)
    forged = principal.workload_token_file(other, time.time())
    with credential(cloud, "federated", file=forged) as signing_in:
        assert "AADSTS50013" in refused(signing_in, scope)
    with credential(cloud, "federated", now=time.time() - 2 * 24 * 3600) as signing_in:
        assert "AADSTS700024" in refused(signing_in, scope)


def test_a_resource_that_is_not_there_is_refused(cloud):
    with credential(cloud, "secret") as signing_in:
        assert "AADSTS500011" in refused(signing_in, "https://management.azure.com/.default")
        assert "AADSTS70011" in refused(signing_in, f"https://{cloud.management_host}/read")


def test_an_expired_secret_and_an_unreachable_authority_are_faults(cloud, scope, shared_emulator):
    from azure.core.exceptions import ServiceRequestError, ServiceResponseError

    admin = shared_emulator.env["EMULATOR_ADMIN_URL"] + "/faults"
    with httpx.Client(trust_env=False) as http, credential(cloud, "secret") as signing_in:
        http.post(admin, json={"kind": "sign_in_refused", "code": "AADSTS7000222"})
        try:
            assert "AADSTS7000222" in refused(signing_in, scope)
            cut = {"kind": "reset_before", "host": r"^login\.", "times": 0}
            http.post(admin, json=cut)
            with (
                credential(cloud, "secret") as cut_off,
                pytest.raises(
                    (ServiceRequestError, ServiceResponseError, ClientAuthenticationError)
                ),
            ):
                cut_off.get_token(scope)
        finally:
            http.delete(admin)
        assert signing_in.get_token(scope).token


@pytest.mark.parametrize("how", ["secret", "certificate", "federated"])
def test_the_environment_of_a_service_principal_is_printed(cloud, how):
    import json

    ran = subprocess.run(
        [*FIRST, str(cloud.state), "--identity", how], cwd=ROOT, capture_output=True, text=True,
        check=True, timeout=60,
    )  # fmt: skip
    printed = json.loads(ran.stdout)

    assert printed["AZURE_CLIENT_ID"] == cloud.identity.client
    assert printed["AZURE_AUTHORITY_HOST"] == f"https://{cloud.login_host}"
    assert "IDENTITY_ENDPOINT" not in printed
    assert ("AZURE_CLIENT_SECRET" in printed) == (how == "secret")
