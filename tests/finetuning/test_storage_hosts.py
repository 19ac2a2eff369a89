"""Which hosts get a storage token: the cloud's own blob storage, and what an operator lists."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from finetuning.azure.clouds import check_storage_host
from finetuning.azure.settings import Settings, load_settings
from finetuning.conversations.sources import content_version, open_source
from finetuning.conversations.sources.files import blob_of_datastore
from finetuning.errors import DataError
from finetuning.form.data import DataChoice
from tests.conftest import RunningEmulator, environment


def on(cloud: str, hosts: str = "") -> Settings:
    return Settings.model_construct(cloud=cloud, storage_hosts=hosts, metadata_url=None)


def choice(place: str) -> DataChoice:
    return DataChoice(files={"train": place}, splits=("train",), percentage=100)


@pytest.fixture
def settings(azure_env: RunningEmulator) -> Settings:
    return load_settings()


@contextmanager
def listening() -> Iterator[socket.socket]:
    """A host that nobody knows, which only counts who comes."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(0.2)
        yield server


def was_asked(server: socket.socket) -> bool:
    try:
        server.accept()[0].close()
    except TimeoutError:
        return False
    return True


@pytest.mark.parametrize(
    "cloud, host",
    [
        ("AzureCloud", "account.blob.core.windows.net"),
        ("AzureCloud", "Account.blob.core.windows.net"),
        ("AzureCloud", "account.z12.blob.storage.azure.net"),
        ("AzureChinaCloud", "account.blob.core.chinacloudapi.cn"),
        ("AzureUSGovernment", "account.blob.core.usgovcloudapi.net"),
    ],
)
def test_the_clouds_own_blob_storage_gets_a_token(cloud: str, host: str) -> None:
    check_storage_host(on(cloud), host)


@pytest.mark.parametrize(
    "host",
    [
        "attacker.example.com",
        "account.blob.core.windows.net.attacker.example.com",
        "attacker.example.com#account.blob.core.windows.net",
        "attacker.example.com?account.blob.core.windows.net",
        "attacker.example.com\\account.blob.core.windows.net",
        "user@attacker.example.com",
        "account.blob.core.windows.net:8443",
        "blob.core.windows.net",
        "attackerblob.core.windows.net",
        "a.b.blob.core.windows.net",
        "account.blob.core.chinacloudapi.cn",
        "account.blob.core.windows.net\n",
        "",
    ],
)
def test_any_other_host_is_refused_by_name(host: str) -> None:
    with pytest.raises(DataError) as raised:
        check_storage_host(on("AzureCloud"), host)

    assert f"'{host}'" in str(raised.value)
    assert "FINETUNE_STORAGE_HOSTS" in str(raised.value)


def test_an_operator_may_list_a_host_and_only_that_one() -> None:
    listed = on("AzureCloud", "data.example.com, other.example.com:8443")

    check_storage_host(listed, "DATA.example.com")
    check_storage_host(listed, "other.example.com:8443")
    for host in ("example.com", "sub.data.example.com", "other.example.com", " ", ""):
        with pytest.raises(DataError):
            check_storage_host(listed, host)


@pytest.mark.parametrize("ask", [open_source, content_version])
def test_a_foreign_host_is_sent_nothing_when_the_data_is_looked_at(
    settings: Settings, ask: object
) -> None:
    with listening() as server:
        port = server.getsockname()[1]

        with pytest.raises(DataError, match=rf"'localhost:{port}' is not blob storage"):
            ask(choice(f"az://c@localhost:{port}/x.jsonl"), settings)  # type: ignore[operator]

        assert not was_asked(server)


def test_the_listener_would_have_noticed_a_connection() -> None:
    with listening() as server:
        socket.create_connection(server.getsockname()).close()

        assert was_asked(server)


@pytest.mark.parametrize(
    "place",
    [
        "az://c@attacker.example.com#.blob.core.windows.net/x.jsonl",
        "az://c@attacker.example.com?.blob.core.windows.net/x.jsonl",
        "az://c@user@attacker.example.com/x.jsonl",
        "az://c@attacker.example.com\\@account.blob.core.windows.net/x.jsonl",
        "az://attacker.example.com/x.jsonl",
    ],
)
def test_an_address_with_more_than_a_host_in_it_is_none(settings: Settings, place: str) -> None:
    with pytest.raises(DataError, match="is not an address"):
        open_source(choice(place), settings)


def test_a_datastore_that_leads_elsewhere_gets_neither_token_nor_its_own_secret(
    settings: Settings,
) -> None:
    from azure.ai.ml.entities import AzureBlobDatastore
    from azure.ai.ml.entities._credentials import SasTokenConfiguration

    for credentials in (None, SasTokenConfiguration(sas_token="sig=secret")):
        store = AzureBlobDatastore(
            name="elsewhere", account_name="account", container_name="c",
            endpoint="attacker.example.com", credentials=credentials,
        )  # fmt: skip

        with pytest.raises(DataError, match=r"'account\.blob\.attacker\.example\.com'") as raised:
            blob_of_datastore(store, "x.jsonl", settings)
        assert "secret" not in str(raised.value)


def test_a_datastore_of_another_kind_is_named(settings: Settings) -> None:
    from azure.ai.ml.entities import AzureFileDatastore

    store = AzureFileDatastore(name="shares", account_name="account", file_share_name="s")

    with pytest.raises(DataError, match="Datastore 'shares' is of type"):
        blob_of_datastore(store, "x.jsonl", settings)


def test_the_list_is_the_operators_and_no_parameter_of_a_run(
    azure_env: RunningEmulator, tmp_path: Path
) -> None:
    with environment({"FINETUNE_STORAGE_HOSTS": "data.example.com"}):
        assert load_settings(folder=tmp_path).storage_hosts == "data.example.com"
    assert "storage_hosts" not in str(DataChoice.model_json_schema())
