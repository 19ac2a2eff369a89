"""What a shared access signature opens, made by the real SDK, and all that it does not."""

from datetime import UTC, datetime, timedelta

import pytest
from azure.storage.blob import generate_account_sas, generate_blob_sas, generate_container_sas

CONTAINER = "azureml-blobstore"
BLOB = {"x-ms-blob-type": "BlockBlob"}


@pytest.fixture(autouse=True)
def there(service):
    """A blob ``there`` in the workspace's container."""
    service.get_blob_client(CONTAINER, "there").upload_blob(b"there", overwrite=True)


def sas(account, kind, permission, hours=1.0, **options):
    name, key, _ = account
    until = datetime.now(UTC) + timedelta(hours=hours)
    if kind == "account":
        options = {"resource_types": "sco"} | options
        types = options.pop("resource_types")
        return generate_account_sas(name, key, types, permission, until, **options)
    if kind == "container":
        return generate_container_sas(
            name, CONTAINER, key, permission=permission, expiry=until, **options
        )
    blob = options.pop("blob", "there")
    return generate_blob_sas(
        name, CONTAINER, blob, account_key=key, permission=permission, expiry=until, **options
    )


def asked(http, method, path, query, **options):
    separator = "&" if "?" in path else "?"
    answer = http.request(method, f"{path}{separator}{query}", **options)
    return answer.status_code, answer.headers.get("x-ms-error-code")


NO_LETTER = (403, "AuthorizationPermissionMismatch")
CALLS = {
    "read": ("GET", "/there", "", "r"),
    "head": ("HEAD", "/there", "", "r"),
    "overwrite": ("PUT", "/there", "", "w"),
    "create": ("PUT", "/new", "", "cw"),
    "block": ("PUT", "/there", "comp=block&blockid=YQ==", "w"),
    "metadata": ("PUT", "/there", "comp=metadata", "w"),
    "delete": ("DELETE", "/there", "", "d"),
    "list": ("GET", "", "restype=container&comp=list", "l"),
}


#: Kind of signature, its letter, call; a blob's signature knows no list.
CASES = [
    (kind, letter, call)
    for kind in ("account", "container", "blob")
    for letter in "rcwdla"
    for call in CALLS
    if kind != "blob" or (letter != "l" and call != "list")
]


@pytest.mark.parametrize(("kind", "letter", "call"), CASES)
def test_a_letter_opens_its_own_operations(account, service, http, kind, letter, call):
    method, place, query, letters = CALLS[call]
    service.get_container_client(CONTAINER).get_blob_client("new").upload_blob(b"", overwrite=True)
    service.get_blob_client(CONTAINER, "new").delete_blob()
    token = sas(account, kind, letter, **({"blob": place[1:]} if kind == "blob" else {}))
    found = asked(
        http, method, f"/{CONTAINER}{place}?{query}", token,
        headers=BLOB if call in ("overwrite", "create") else {},
    )  # fmt: skip

    if letter in letters:
        assert found[0] in (200, 201, 202)
    else:
        assert found == NO_LETTER
    assert service.get_blob_client(CONTAINER, "there").exists() == (
        (call, letter) != ("delete", "d")
    )


def test_no_service_signature_touches_a_container_itself(account, http, service):
    token = sas(account, "container", "racwdl")

    for method in ("GET", "HEAD", "DELETE", "PUT"):
        assert asked(http, method, f"/{CONTAINER}?restype=container", token) == NO_LETTER
    assert service.get_container_client(CONTAINER).exists()


def test_a_signature_is_for_its_own_blob_and_container(account, http):
    blob, container = sas(account, "blob", "r"), sas(account, "container", "rl")
    refused = (403, "AuthenticationFailed")

    assert asked(http, "GET", f"/{CONTAINER}/other", blob) == refused
    assert asked(http, "GET", f"/{CONTAINER}?restype=container&comp=list", blob) == refused
    assert asked(http, "GET", "/azureml/there", container) == refused
    assert asked(http, "GET", "/?comp=list", container) == refused


ACCOUNT = [
    ("o", "/there", "", 200), ("c", "/there", "", 403), ("s", "/there", "", 403),
    ("c", "", "restype=container&comp=list", 200), ("o", "", "restype=container&comp=list", 403),
    ("c", "", "restype=container", 200), ("o", "", "restype=container", 403),
]  # fmt: skip


@pytest.mark.parametrize(("types", "place", "query", "status"), ACCOUNT)
def test_an_account_signature_is_for_its_resource_types(account, http, types, place, query, status):
    token = sas(account, "account", "rl", resource_types=types)
    code = "AuthorizationResourceTypeMismatch" if status == 403 else None

    assert asked(http, "GET", f"/{CONTAINER}{place}?{query}", token) == (status, code)


def test_an_account_signature_is_for_its_services(account, http):
    token = sas(account, "account", "r", services="q")

    assert asked(http, "GET", f"/{CONTAINER}/there", token) == (
        403, "AuthorizationServiceMismatch",
    )  # fmt: skip


@pytest.mark.parametrize("kind", ["account", "container", "blob"])
def test_a_signature_keeps_its_time_address_and_protocol(account, http, kind):
    def read(**options):
        return asked(http, "GET", f"/{CONTAINER}/there", sas(account, kind, "r", **options))

    soon = datetime.now(UTC) + timedelta(minutes=30)
    assert read(hours=-1) == read(start=soon) == (403, "AuthenticationFailed")
    assert read(ip="10.1.1.1") == (403, "AuthorizationSourceIPMismatch")
    assert read(ip="127.0.0.0-127.0.0.9") == read(protocol="https") == (200, None)


@pytest.mark.parametrize("version", ["2015-04-05", "2018-11-09", "2019-12-12", "2021-08-06"])
def test_each_signed_version_is_computed_its_own_way(account, http, version):
    """Signed here by hand, as the reference has it: the SDK signs its newest only."""
    from urllib.parse import urlencode

    from emulator.services.storage.signatures import sign

    name, key, _ = account
    until = (datetime.now(UTC) + timedelta(hours=1)).strftime("%Y-%m-%dT%H:%M:%SZ")
    parts = ["r", "", until, f"/blob/{name}/{CONTAINER}/there", "", "", "", version]
    parts += ["b", ""] if version >= "2018-11-09" else []
    parts += [""] if version >= "2020-12-06" else []
    signature = sign(key, "\n".join([*parts, "", "", "", "", ""]))
    query = urlencode({"sp": "r", "se": until, "sr": "b", "sv": version, "sig": signature})

    assert asked(http, "GET", f"/{CONTAINER}/there", query) == (200, None)
    assert asked(http, "GET", f"/{CONTAINER}/there", query.replace(version, "2014-02-14")) == (
        403, "AuthenticationFailed",
    )  # fmt: skip


def test_a_signature_answers_its_own_headers(account, http):
    token = sas(account, "blob", "r", cache_control="max-age=9", content_type="x/y")
    answer = http.get(f"/{CONTAINER}/there?{token}")

    assert answer.headers["Cache-Control"] == "max-age=9"
    assert answer.headers["Content-Type"] == "x/y"
