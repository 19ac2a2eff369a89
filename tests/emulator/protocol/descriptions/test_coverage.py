"""Every route that the emulator's README names is described."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from emulator.protocol.descriptions import AZURE, IDENTITY, STORAGE, find

README = Path(__file__).parents[4] / "emulator" / "README.md"
CELLS = r"(?P<host>[^|]+) \| (?P<path>[^|]+) \| (?P<methods>[A-Z, ]+)"
ROW = re.compile(rf"^\| {CELLS} \|[^|]*\|[^|]*\|$", re.MULTILINE)
PLACE = re.compile(r"^- `(?P<name>[^`]+)` is `(?P<path>[^`]+)`$", re.MULTILINE)
#: Routes that no description of Azure has, and why they are there.
OWN = {
    "{WS}/usages": "usages are a region's on Azure",
    "/history/v1.0{WS}/runs/{name}/logs/{file:path}": "a log is a blob on Azure",
}
KINDS = ("models", "components", "data", "environments")
CALLS = ("runs/search", "experiments/get-by-name", "runs/log-batch")
HOSTS = {"`management`": AZURE, "`<region>.api`": AZURE, "127.0.0.1, plain http": IDENTITY}
BLOBS = {"account": "/", "container": "/box", "blob": "/box/a.txt"}


def concrete(template: str) -> Iterator[str]:
    """Paths that a route of the table takes."""
    for kind in KINDS if "{kind:str}" in template else ("",):
        for call in CALLS if "{call:path}" in template else ("",):
            path = template.replace("{kind:str}", kind).replace("{call:path}", call)
            yield re.sub(r"\{\w+(:\w+)?\}", "x1a", path)


def routes() -> Iterator[tuple[str, str, str]]:
    """Service, methods and path of the table's rows that are Azure's."""
    text = README.read_text()
    places = {found["name"]: found["path"] for found in PLACE.finditer(text)}
    for row in ROW.finditer(text):
        path = row["path"].strip("` ")
        if row["host"] in HOSTS and path not in OWN and not path.startswith("/_emulator"):
            for name, place in sorted(places.items(), key=lambda item: -len(item[0])):
                path = path.replace(name, place)
            for one in concrete(path):
                yield HOSTS[row["host"]], row["methods"], one


def blob_routes() -> Iterator[tuple[str, str, dict[str, str]]]:
    """Method, path and query of the rows of the storage account."""
    for row in ROW.finditer(README.read_text()):
        if row["host"] == "`<account>.blob`":
            level, _, comp = row["path"].partition(", `comp=")
            query = {"comp": comp.strip("` ")} if comp else {}
            if level == "container":
                query["restype"] = "container"
            for method in row["methods"].split(", "):
                yield method, BLOBS[level], query


@pytest.mark.parametrize(("service", "methods", "path"), list(routes()))
def test_every_route_is_described(service, methods, path):
    missing = [
        method
        for method in methods.split(", ")
        if find(method, path, {}, service=service) is None and not elsewhere(method, path)
    ]

    assert missing == []


def elsewhere(method: str, path: str) -> bool:
    """MLflow's routes take every method; each call has its own."""
    return "/mlflow/" in path and any(
        find(other, path, {}) is not None for other in ("GET", "POST", "PATCH", "DELETE")
    )


@pytest.mark.parametrize(("method", "path", "query"), list(blob_routes()))
def test_every_route_of_storage_is_described(method, path, query):
    assert find(method, path, query, service=STORAGE) is not None


def test_the_table_was_read():
    assert len(list(routes())) > 60 and len(list(blob_routes())) > 10
