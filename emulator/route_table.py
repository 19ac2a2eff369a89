"""The table of what is emulated, made from the routes themselves."""

from starlette.routing import Route

from emulator.arm import WORKSPACE
from emulator.routes import (
    admin,
    assets,
    blobs,
    computes,
    datastores,
    endpoints,
    history,
    identity,
    jobs,
    metadata,
    registries,
    scoring,
    tracking,
    workspaces,
)


def table() -> str:
    """Markdown: host, methods, path, by host and path."""
    from emulator.hub import ROUTES as hub

    management = [
        *metadata.MANAGEMENT,
        *workspaces.ROUTES,
        *computes.ROUTES,
        *datastores.ROUTES,
        *assets.ROUTES,
        *jobs.ROUTES,
        *endpoints.ROUTES,
    ]
    hosts = {
        "management": management,
        "api": [*metadata.API, *history.ROUTES, *tracking.ROUTES, *registries.ROUTES],
        "inference": scoring.ROUTES,
        "plain http": [*identity.ROUTES, *admin.ROUTES, *hub],
    }
    rows = [row for host, routes in hosts.items() for row in sorted(_row(host, r) for r in routes)]
    rows += [f"| blob | {m} | {level}{_comp(comp)} |" for m, level, comp in blobs.HANDLERS]
    head = ["| host | method | path |", "| --- | --- | --- |"]
    return "\n".join([*head, *dict.fromkeys(rows)])


def _row(host: str, route: Route) -> str:
    methods = sorted((route.methods or {"GET"}) - {"HEAD"})
    path = route.path.replace(WORKSPACE, "{workspace}")
    return f"| {host} | {', '.join(methods)} | `{path}` |"


def _comp(comp: str) -> str:
    return f", `comp={comp}`" if comp else ""
