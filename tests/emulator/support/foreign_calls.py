"""Clients that others wrote, each with what its users do and what they get here."""

import json
import os
import subprocess
from collections.abc import Callable, Iterator
from importlib import metadata
from typing import Any, NamedTuple

from tests.emulator.support.foreign_world import ForeignWorld

RIGHT, MISSING = "right", "501"


class Use(NamedTuple):
    """``does`` returns whether the answer is right; where it is missing, ``does`` raises."""

    name: str
    says: str
    does: Callable[[ForeignWorld], Any]


class Client(NamedTuple):
    """A package or program, and what is tried with it."""

    name: str
    what: str
    uses: tuple[Use, ...]


def names(found: Any) -> list[str]:
    return [one.name for one in found]


# -- azure-mgmt-machinelearningservices


def made_a_cluster(world: ForeignWorld) -> bool:
    name, compute = world.fresh("mgmt") + "x", world.mgmt.machine_learning_compute
    made = compute.begin_create_or_update(*world.place, name, world.cluster).result()
    listed = name in names(compute.list_by_workspace(*world.place))
    compute.begin_delete(*world.place, name, "Delete").result()
    gone = name not in names(compute.list_by_workspace(*world.place))
    return made.properties.provisioning_state == "Succeeded" and listed and gone


MGMT = (
    Use(
        "workspaces.get",
        RIGHT,
        lambda w: w.mgmt.workspaces.get(*w.place).location == "westeurope",
    ),
    Use(
        "workspaces.list_by_resource_group",
        RIGHT,
        lambda w: names(w.mgmt.workspaces.list_by_resource_group(w.place[0])) == [w.place[1]],
    ),
    Use(
        "virtual_machine_sizes.list",
        RIGHT,
        lambda w: len(w.mgmt.virtual_machine_sizes.list("westeurope").aml_compute) > 10,
    ),
    Use("usages.list", RIGHT, lambda w: len(list(w.mgmt.usages.list("westeurope"))) > 10),
    Use("quotas.list", RIGHT, lambda w: len(list(w.mgmt.quotas.list("westeurope"))) > 10),
    Use("machine_learning_compute: create, list, delete", RIGHT, made_a_cluster),
    Use("workspaces.list_keys", MISSING, lambda w: w.mgmt.workspaces.list_keys(*w.place)),
    Use(
        "workspace_features.list",
        MISSING,
        lambda w: list(w.mgmt.workspace_features.list(*w.place)),
    ),
)


# -- azure-storage-blob


def wrote_and_read(world: ForeignWorld) -> bool:
    blob = world.container.get_blob_client("a/b.txt")
    blob.upload_blob(b"hello", metadata={"who": "me"}, overwrite=True)
    told = blob.get_blob_properties()
    read = blob.download_blob(offset=1, length=3).readall()
    return bool((told.size, told.metadata["who"], read) == (5, "me", b"ell"))


def listed_by_folder(world: ForeignWorld) -> bool:
    for name in ("l/1", "l/2", "l/deep/3"):
        world.container.upload_blob(name, b"x", overwrite=True)
    flat = names(world.container.list_blobs(name_starts_with="l/"))
    tree = names(world.container.walk_blobs(name_starts_with="l/"))
    return flat == ["l/1", "l/2", "l/deep/3"] and sorted(tree) == ["l/1", "l/2", "l/deep/"]


def kept_a_condition(world: ForeignWorld) -> bool:
    from azure.core import MatchConditions
    from azure.core.exceptions import ResourceModifiedError

    blob = world.container.get_blob_client("c.txt")
    old = blob.upload_blob(b"1", overwrite=True)["etag"]
    blob.upload_blob(b"2", overwrite=True)
    only = {"etag": old, "match_condition": MatchConditions.IfNotModified}
    try:
        blob.upload_blob(b"3", overwrite=True, **only)
    except ResourceModifiedError:
        return bool(blob.download_blob().readall() == b"2")
    return False


BLOBS = (
    Use("upload, properties, a range", RIGHT, wrote_and_read),
    Use("list, walk", RIGHT, listed_by_folder),
    Use("if-match", RIGHT, kept_a_condition),
    Use("a signed address", RIGHT, lambda w: w.signed_read() == b"signed"),
    Use("copy", MISSING, lambda w: w.container.get_blob_client("x").start_copy_from_url(w.url)),
    Use("snapshot", MISSING, lambda w: w.kept_blob.create_snapshot()),
)

# -- adlfs, in a process of its own: aiohttp reads its certificates when it is imported

ADLFS = """
import sys, adlfs
from azure.identity.aio import DefaultAzureCredential
name, host, folder, what = sys.argv[1:]
files = adlfs.AzureBlobFileSystem(name, account_host=host, credential=DefaultAzureCredential())
path = f"{folder}/{what}/rows.jsonl"
files.pipe_file(path, b"row\\n" * 1000)
if what == "write":
    assert files.find(folder) == files.glob(f"{folder}/*/*.jsonl") == [path]
    assert files.ls(f"{folder}/{what}", detail=True)[0]["size"] == 4000
    assert files.cat_file(path, start=4, end=8) == b"row\\n"
    files.rm(f"{folder}/{what}", recursive=True)
    assert not files.exists(path)
else:
    files.cp_file(path, path + ".copy")
print("done")
"""


def by_adlfs(world: ForeignWorld, what: str) -> bool:
    folder = f"{world.container.container_name}/lake"
    ran = world.python("-c", ADLFS, *world.account, folder, what)
    if "NotEmulated" in ran.stderr or "NotImplemented" in ran.stderr:
        raise Unanswered(501)
    return bool(ran.stdout == "done\n")


class Unanswered(Exception):
    """A program of its own was told that something is not emulated."""

    def __init__(self, status: int) -> None:
        super().__init__(status)
        self.status_code = status


FILES = (
    Use("pipe, find, ls, cat, glob, rm", RIGHT, lambda w: by_adlfs(w, "write")),
    Use("cp", MISSING, lambda w: by_adlfs(w, "copy")),
)

# -- mlflow


def logged_a_run(world: ForeignWorld) -> bool:
    client, run = world.mlflow, world.run
    points = [(one.step, one.value) for one in client.get_metric_history(run, "loss")]
    files = [one.path for one in client.list_artifacts(run, "model")]
    return points == [(1, 0.5)] and "model/MLmodel" in files


def registered(world: ForeignWorld) -> bool:
    client, name = world.mlflow, world.fresh("foreign")
    client.create_registered_model(name)
    source = f"{client.get_run(world.run).info.artifact_uri}/model"
    made = client.create_model_version(name, source, world.run)
    found = client.search_model_versions(f"name='{name}'")
    client.delete_registered_model(name)
    return [one.version for one in found] == [made.version] == ["1"]


def by_command_line(world: ForeignWorld) -> bool:
    """``mlflow runs describe`` tells the run's metrics."""
    ran = world.python("-m", "mlflow", "runs", "describe", "--run-id", world.run)
    return bool(json.loads(ran.stdout)["data"]["metrics"] == {"loss": 0.5})


def downloaded_by_command_line(world: ForeignWorld) -> bool:
    place = world.folder / "downloaded"
    uri = f"runs:/{world.run}/model"
    world.python("-m", "mlflow", "artifacts", "download", "-u", uri, "-d", str(place))
    return len(list(place.rglob("MLmodel"))) == 1


MLFLOW = (
    Use("create, log, list of a run", RIGHT, logged_a_run),
    Use("register, search, delete of a model", RIGHT, registered),
    Use("search_runs", RIGHT, lambda w: w.run in w.found_runs()),
)
MLFLOW_CLI = (
    Use("mlflow runs describe", RIGHT, by_command_line),
    Use("mlflow artifacts download", RIGHT, downloaded_by_command_line),
)

# -- curl


def by_curl(world: ForeignWorld, path: str, *options: str) -> tuple[int, Any]:
    """Status and body of a request to the workspace."""
    address = f"{world.manager}{world.workspace}{path}"
    ran = subprocess.run(
        ["curl", "-s", "-w", "\\n%{http_code}", "--cacert", world.env["SSL_CERT_FILE"], *options,
         "-H", f"Authorization: Bearer {world.token}", address],
        env={**os.environ, **world.env}, capture_output=True, text=True, check=True, timeout=60,
    )  # fmt: skip
    body, _, status = ran.stdout.rpartition("\n")
    return int(status), json.loads(body)


def asked_by_curl(world: ForeignWorld) -> bool:
    status, body = by_curl(world, "/jobs?api-version=2024-01-01-preview")
    return status == 200 and isinstance(body["value"], list)


def refused_by_curl(world: ForeignWorld) -> bool:
    status, body = by_curl(world, "/jobs?api-version=1999-01-01")
    return status == 400 and bool(body["error"]["code"])


def missing_by_curl(world: ForeignWorld) -> None:
    status, _ = by_curl(world, "/schedules?api-version=2024-01-01-preview")
    raise Unanswered(status)


CURL = (
    Use("GET with a managed identity's token", RIGHT, asked_by_curl),
    Use("an api-version that Azure has not is 400", RIGHT, refused_by_curl),
    Use("GET of schedules", MISSING, missing_by_curl),
)

CLIENTS = (
    Client("azure-mgmt-machinelearningservices", "Resource Manager", MGMT),
    Client("azure-storage-blob", "blobs", BLOBS),
    Client("adlfs", "blobs as files (fsspec)", FILES),
    Client("mlflow", "its client, by azureml-mlflow", MLFLOW),
    Client("mlflow", "its command line", MLFLOW_CLI),
    Client("curl", "plain requests", CURL),
)


def table() -> str:
    """Markdown: clients, what is tried, counts; ``python -m`` this module prints it."""
    return "\n".join(_rows())


def _rows() -> Iterator[str]:
    yield "| client | for | tried | right | 501 |"
    yield "| --- | --- | --- | --- | --- |"
    for client in CLIENTS:
        right, missing = (sum(use.says == says for use in client.uses) for says in (RIGHT, MISSING))
        tried = "; ".join(use.name for use in client.uses)
        yield f"| {_version(client.name)} | {client.what} | {tried} | {right} | {missing} |"


def _version(name: str) -> str:
    try:
        return f"{name} {metadata.version(name)}"
    except metadata.PackageNotFoundError:
        return name


if __name__ == "__main__":
    print(table())
