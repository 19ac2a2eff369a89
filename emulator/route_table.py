"""The table of what is emulated, made from the routes themselves."""

from pathlib import Path
from tempfile import TemporaryDirectory

from starlette.routing import Route

from emulator.app import (
    Emulator,
    api_routes,
    hub_routes,
    management_routes,
    plain_routes,
    scoring_routes,
)
from emulator.configuration import Configuration, Identity
from emulator.protocol.resources import LOCATION, WORKSPACE
from emulator.services.registry.routes import PATH as REGISTRY
from emulator.services.storage.routes import HANDLERS

SHORT = {
    WORKSPACE: "{WS}",
    "/mferp/managementfrontend" + REGISTRY: "{MFE}/{REG}",
    REGISTRY: "{REG}",
    LOCATION: "{LOCATION}",
    WORKSPACE.rsplit("/", 1)[0]: "{GROUP}/workspaces",
}


def table() -> str:
    """Markdown: host, path, methods; ``{WS}`` and the like are explained below the table."""
    rows = [
        row for host, routes in _routes().items() for row in sorted(_row(host, r) for r in routes)
    ]
    rows += sorted(
        f"| `<account>.blob` | {level}{_comp(comp)} | {method} |"
        for method, level, comp in HANDLERS
    )
    head = ["| host | path | methods |", "| --- | --- | --- |"]
    notes = [f"- `{short}` is `{long}`" for long, short in SHORT.items()]
    return "\n".join([*head, *_merged(rows), "", *notes])


def _routes() -> dict[str, list[Route]]:
    """The routes by host, taken from an emulator that never starts."""
    with TemporaryDirectory() as folder:
        emulator = Emulator(Configuration(Path(folder), Path(folder), Identity()))
        emulator.store.close()
    return {
        "`management`": management_routes(emulator),
        "`<region>.api`": api_routes(emulator),
        "`<endpoint>.<region>.inference`": scoring_routes(emulator),
        "127.0.0.1, plain http": plain_routes(emulator),
        "127.0.0.1, plain http, below /hub": hub_routes(emulator),
    }


def _row(host: str, route: Route) -> str:
    methods = sorted((route.methods or {"GET"}) - {"HEAD"})
    path = route.path
    for long, short in SHORT.items():
        path = path.replace(long, short)
    return f"| {host} | `{path}` | {', '.join(methods)} |"


def _comp(comp: str) -> str:
    return f", `comp={comp}`" if comp else ""


def _merged(rows: list[str]) -> list[str]:
    """One row for all methods of a path."""
    methods_of: dict[str, list[str]] = {}
    for row in rows:
        place, methods = row.removesuffix(" |").rsplit(" | ", 1)
        methods_of.setdefault(place, []).append(methods)
    return [f"{place} | {', '.join(dict.fromkeys(given))} |" for place, given in methods_of.items()]
