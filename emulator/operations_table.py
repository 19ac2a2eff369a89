"""The table of what is emulated, made from the routes themselves and Azure's descriptions."""

from collections.abc import Iterable, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

from starlette.routing import Route

from emulator.app import (
    Emulator,
    api_routes,
    hub_routes,
    management_routes,
    plain_routes,
    scoring_routes,
    sign_in_routes,
)
from emulator.configuration import Configuration, Identity
from emulator.protocol.descriptions import Operation, find
from emulator.protocol.descriptions.operations import described
from emulator.protocol.resources import LOCATION, WORKSPACE
from emulator.services.registry.routes import PATH as REGISTRY
from emulator.services.storage.routes import HANDLERS

MANAGEMENT, REGION = "`management`", "`<region>.api`"
KINDS = ("models", "components")  # of a registry's assets, which have one route
KIND = "{kind:str}"
MLFLOW = "/mlflow/"
SHORT = {
    WORKSPACE: "{WS}",
    "/mferp/managementfrontend" + REGISTRY: "{MFE}/{REG}",
    REGISTRY: "{REG}",
    LOCATION: "{LOCATION}",
    WORKSPACE.rsplit("/", 1)[0]: "{GROUP}/workspaces",
}


class Row(NamedTuple):
    """A path of a host: its methods, the operations that Azure describes, their api-versions."""

    host: str
    path: str
    methods: tuple[str, ...]
    operations: tuple[str, ...] = ()
    versions: tuple[str, ...] = ()

    def __str__(self) -> str:
        cells = (*self[:2], *(", ".join(dict.fromkeys(many)) for many in self[2:]))
        return f"| {' | '.join(cells)} |".replace("|  |", "| |")


def table() -> str:
    """Markdown: a row for each path; ``{WS}`` and the like are explained below the table."""
    rows = [*_azure_rows(), *_storage_rows()]
    head = ["| host | path | methods | operations | api-versions |", "| --- |" + " --- |" * 4]
    notes = [f"- `{short}` is `{long}`" for long, short in SHORT.items()]
    return "\n".join([*head, *map(str, _merged(rows)), "", *notes])


def _azure_rows() -> Iterator[Row]:
    for host, routes in _routes().items():
        yield from sorted(_row(host, route) for route in routes)


def _routes() -> dict[str, list[Route]]:
    """The routes by host, taken from an emulator that never starts."""
    with TemporaryDirectory() as folder:
        emulator = Emulator(Configuration(Path(folder), Path(folder), Identity()))
        emulator.store.close()
    return {
        MANAGEMENT: management_routes(emulator),
        REGION: api_routes(emulator),
        "`<endpoint>.<region>.inference`": scoring_routes(emulator),
        "`login`": sign_in_routes(emulator),
        "127.0.0.1, plain http": plain_routes(emulator),
        "127.0.0.1, plain http, below /hub": hub_routes(emulator),
    }


def _row(host: str, route: Route) -> Row:
    methods = tuple(sorted((route.methods or {"GET"}) - {"HEAD"}))
    found: list[Operation] = []
    if host in (MANAGEMENT, REGION):
        found = [one for method in methods for one in _operations(method, route.path)]
    versions = sorted({version for one in found for version in one.versions})
    path = route.path
    for long, short in SHORT.items():
        path = path.replace(long, short)
    names = tuple(one.name for one in found)
    return Row(host, f"`{path}`", methods, names, tuple(versions))


def _operations(method: str, path: str) -> Iterator[Operation]:
    """The described operations that a route answers."""
    if path.startswith(MLFLOW):  # one route for all of its calls
        calls = (one for one in described() if one.template.startswith(MLFLOW))
        yield from (one for one in calls if one.method == method)
        return
    for kind in KINDS if KIND in path else ("",):
        found = find(method, path.replace(KIND, kind), {})
        if found is not None:
            yield found


def _storage_rows() -> Iterable[Row]:
    return sorted(
        Row("`<account>.blob`", f"{level}{_comp(comp)}", (method,), (operation.name,))
        for (method, level, comp), operation in HANDLERS.items()
    )


def _comp(comp: str) -> str:
    return f", `comp={comp}`" if comp else ""


def _merged(rows: Iterable[Row]) -> list[Row]:
    """One row for all methods of a path."""
    merged: dict[tuple[str, str], Row] = {}
    for row in rows:
        known = merged.get(row[:2], Row(*row[:2], ()))
        merged[row[:2]] = Row(
            *row[:2],
            known.methods + row.methods,
            known.operations + row.operations,
            known.versions + row.versions,
        )
    return list(merged.values())
