"""The table of what is emulated, made from the routes themselves."""

from starlette.routing import Route

from emulator import admin
from emulator.app import api_routes, management_routes
from emulator.protocol.resources import PROVIDER, WORKSPACE
from emulator.services.hub import ROUTES as HUB
from emulator.services.identity import routes as identity
from emulator.services.registry.routes import REGISTRY
from emulator.services.serving import scoring
from emulator.services.storage import routes as blobs

SHORT = {
    WORKSPACE: "{WS}",
    "/mferp/managementfrontend" + REGISTRY: "{MFE}/{REG}",
    REGISTRY: "{REG}",
    PROVIDER + "/locations/{location}": "{LOCATION}",
    WORKSPACE.rsplit("/", 1)[0]: "{GROUP}/workspaces",
}


def table() -> str:
    """Markdown: host, path, methods; ``{WS}`` and the like are explained below the table."""
    hosts = {
        "`management`": management_routes(),
        "`<region>.api`": api_routes(),
        "`<endpoint>.<region>.inference`": scoring.ROUTES,
        "127.0.0.1, plain http": [*identity.ROUTES, *admin.ROUTES],
        "127.0.0.1, plain http, below /hub": HUB,
    }
    rows = [row for host, routes in hosts.items() for row in sorted(_row(host, r) for r in routes)]
    rows += sorted(
        f"| `<account>.blob` | {level}{_comp(comp)} | {method} |"
        for method, level, comp in blobs.HANDLERS
    )
    head = ["| host | path | methods |", "| --- | --- | --- |"]
    notes = [f"- `{short}` is `{long}`" for long, short in SHORT.items()]
    return "\n".join([*head, *_merged(rows), "", *notes])


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
    found: dict[str, list[str]] = {}
    for row in rows:
        place, methods = row.removesuffix(" |").rsplit(" | ", 1)
        found.setdefault(place, []).append(methods)
    return [f"{place} | {', '.join(dict.fromkeys(given))} |" for place, given in found.items()]
