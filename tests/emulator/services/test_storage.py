"""The storage account by the real azure-storage-blob, over TLS; and its refusals."""

import os
from datetime import UTC, datetime, timedelta

import httpx
import pytest
from azure.core.exceptions import (
    ClientAuthenticationError,
    HttpResponseError,
    ResourceExistsError,
    ResourceNotFoundError,
)
from azure.core.rest import HttpRequest
from azure.storage.blob import (
    AccountSasPermissions,
    BlobBlock,
    BlobClient,
    BlobSasPermissions,
    BlobServiceClient,
    ContainerSasPermissions,
    ResourceTypes,
    generate_account_sas,
    generate_blob_sas,
    generate_container_sas,
)

CONTAINER = "azureml-blobstore"


def hours_from_now(hours):
    return datetime.now(UTC) + timedelta(hours=hours)


def error_code(call, *arguments, kind=HttpResponseError, **options):
    with pytest.raises(kind) as caught:
        call(*arguments, **options)
    code = caught.value.error_code
    return caught.value.status_code, getattr(code, "value", code)


def test_a_blob_comes_back_with_its_metadata_and_type(container):
    from azure.storage.blob import ContentSettings

    blob = container.get_blob_client("a folder/ünï?#%41.txt")
    settings = ContentSettings(content_type="text/plain")
    blob.upload_blob(b"hello", metadata={"made_by": "me"}, content_settings=settings)
    about = blob.get_blob_properties()

    assert blob.download_blob().readall() == b"hello"
    assert (about.size, about.metadata) == (5, {"made_by": "me"})
    assert about.content_settings.content_type == "text/plain"
    blob.set_blob_metadata({"b": "2"})
    assert blob.get_blob_properties().metadata == {"b": "2"}
    assert [one.name for one in container.list_blobs()] == ["a folder/ünï?#%41.txt"]


def test_a_large_blob_goes_up_in_blocks_and_comes_down_in_ranges(account, container):
    content = os.urandom(1_000_003)
    small = {"max_single_put_size": 1000, "max_block_size": 200_000}
    ranges = {"max_single_get_size": 100_000, "max_chunk_get_size": 300_000}
    blob = BlobClient(
        account[2], container.container_name, "large", credential=account[1], **small, **ranges
    )
    with blob:
        blob.upload_blob(content, max_concurrency=3)

        assert blob.download_blob(max_concurrency=3).readall() == content
        assert blob.download_blob(offset=999_999, length=100).readall() == content[999_999:]


def test_blocks_are_nothing_until_they_are_listed(container):
    blob = container.get_blob_client("staged")
    blob.stage_block("YQ==", b"first ")
    blob.stage_block("Yg==", b"second")
    before = blob.exists()
    unknown = error_code(blob.commit_block_list, [BlobBlock("Yw==")])
    blob.commit_block_list([BlobBlock("Yg=="), BlobBlock("YQ==")])

    assert not before
    assert unknown == (400, "InvalidBlockList")
    assert blob.download_blob().readall() == b"secondfirst "


def test_an_empty_blob_is_a_blob(container):
    blob = container.get_blob_client("empty")
    blob.upload_blob(b"")

    assert blob.download_blob().readall() == b""


def test_an_upload_that_may_not_overwrite_does_not(container):
    blob = container.get_blob_client("once")
    blob.upload_blob(b"first")

    assert error_code(blob.upload_blob, b"second", kind=ResourceExistsError)[0] == 409
    blob.upload_blob(b"third", overwrite=True)
    assert blob.download_blob().readall() == b"third"


def test_a_condition_that_is_not_met_is_412(container):
    from azure.core import MatchConditions

    blob = container.get_blob_client("changed")
    etag = blob.upload_blob(b"1")["etag"]
    blob.upload_blob(b"22", overwrite=True)
    met = {"etag": etag, "match_condition": MatchConditions.IfNotModified, "overwrite": True}

    assert error_code(blob.upload_blob, b"3", **met)[0] == 412


def test_lists_come_in_pages_and_by_folders(container):
    for name in ("a/1", "a/2", "b/1", "top"):
        container.upload_blob(name, name)
    pages = [list(page) for page in container.list_blobs(results_per_page=3).by_page()]

    assert [len(page) for page in pages] == [3, 1]
    assert [one.name for page in pages for one in page] == ["a/1", "a/2", "b/1", "top"]
    assert [one.name for one in container.list_blobs(name_starts_with="a/")] == ["a/1", "a/2"]
    assert [one.name for one in container.walk_blobs()] == ["a/", "b/", "top"]


def test_what_is_not_there_is_said_by_its_code(service, container):
    gone = container.get_blob_client("gone")
    nowhere = service.get_blob_client("nowhere", "x")

    assert error_code(gone.download_blob, kind=ResourceNotFoundError) == (404, "BlobNotFound")
    assert error_code(gone.delete_blob, kind=ResourceNotFoundError) == (404, "BlobNotFound")
    assert error_code(nowhere.upload_blob, b"") == (404, "ContainerNotFound")
    container.upload_blob("gone", b"")
    gone.delete_blob()
    assert not gone.exists()


def test_a_blob_that_would_be_a_folder_too_is_not_emulated(container):
    container.upload_blob("a", b"")

    assert error_code(container.upload_blob, "a/b", b"")[0] == 501


def test_containers_are_made_once_and_listed(service, container):
    assert error_code(service.create_container, container.container_name)[0] == 409
    assert error_code(service.create_container, "No_Name")[0] == 400
    assert container.container_name in [one.name for one in service.list_containers()]


@pytest.mark.parametrize("name", ["..", ".blocks", "%2e%2e", "azureml/../..", "azureml/%2e%2e/x"])
def test_nothing_outside_the_containers_can_be_read(service, account, name):
    """Signed correctly, but for a path that leads elsewhere in the state folder."""
    pipeline = service.get_blob_client("azureml", "x")._client._client
    answer = pipeline.send_request(HttpRequest("GET", f"{account[2]}/{name}/identity.json"))

    assert answer.status_code in (400, 403, 404)
    assert b"storage_key" not in answer.read()


def test_a_wrong_key_is_refused(account):
    wrong = "d3Jvbmc="
    with BlobServiceClient(account[2], credential=wrong) as service:
        found = error_code(service.get_container_client(CONTAINER).get_container_properties,
                           kind=ClientAuthenticationError)  # fmt: skip

    assert found[0] == 403


def test_no_authorisation_is_refused_in_xml(account, shared_emulator):
    import ssl

    context = ssl.create_default_context(cafile=shared_emulator.env["REQUESTS_CA_BUNDLE"])
    proxy = shared_emulator.env["HTTPS_PROXY"]
    with httpx.Client(trust_env=False, proxy=proxy, verify=context) as http:
        answer = http.get(f"{account[2]}/{CONTAINER}/x")

    assert answer.status_code == 401
    assert answer.headers["x-ms-error-code"] == "NoAuthenticationInformation"
    assert "<Code>NoAuthenticationInformation</Code>" in answer.text


def signed(account, kind, permission, hours, name="signed.txt"):
    """The query of a shared access signature that the SDK makes."""
    if kind == "account":
        parts = ResourceTypes(object=True, container=True)
        return generate_account_sas(
            account[0],
            account[1],
            parts,
            AccountSasPermissions.from_string(permission),
            hours_from_now(hours),
        )
    if kind == "container":
        allowed = ContainerSasPermissions.from_string(permission)
        return generate_container_sas(account[0], CONTAINER, account[1], permission=allowed,
                                      expiry=hours_from_now(hours))  # fmt: skip
    allowed = BlobSasPermissions.from_string(permission)
    return generate_blob_sas(account[0], CONTAINER, name, account_key=account[1],
                             permission=allowed, expiry=hours_from_now(hours))  # fmt: skip


@pytest.mark.parametrize("kind", ["blob", "container", "account"])
def test_a_signature_opens_what_it_is_for_as_long_as_it_is_for(service, account, kind):
    service.get_blob_client(CONTAINER, "signed.txt").upload_blob(b"signed", overwrite=True)

    def read(query, name="signed.txt"):
        with BlobClient(account[2], CONTAINER, name, credential=query) as blob:
            return blob.download_blob().readall()

    good = signed(account, kind, "r", 1)
    assert read(good) == b"signed"
    assert error_code(read, signed(account, kind, "r", -1))[0] == 403
    assert error_code(read, signed(account, kind, "w", 1))[0] == 403
    assert error_code(read, good.replace("sig=", "sig=x"))[0] == 403
    with BlobClient(account[2], CONTAINER, "signed.txt", credential=good) as blob:
        assert error_code(blob.upload_blob, b"", overwrite=True)[0] == 403
    if kind == "blob":
        assert error_code(read, good, "other.txt")[0] == 403


def test_a_bearer_token_opens_the_account(account, shared_emulator):
    from azure.identity import DefaultAzureCredential

    with (
        DefaultAzureCredential() as credential,
        BlobServiceClient(account[2], credential=credential) as service,
    ):
        blob = service.get_blob_client(CONTAINER, "by-token")
        blob.upload_blob(b"token", overwrite=True)

        assert blob.download_blob().readall() == b"token"
