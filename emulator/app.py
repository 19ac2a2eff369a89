"""The composition root: one store, one clock, every part, every route."""

import json
from collections.abc import Sequence
from copy import copy
from dataclasses import dataclass
from pathlib import Path

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Mount, Route
from starlette.types import ASGIApp, Receive, Scope, Send

from emulator import admin
from emulator.catalogue import Catalogue, load_catalogue
from emulator.clock import Clock, ScaledClock
from emulator.configuration import REGION, Configuration
from emulator.faults import Faults, Journal, host_of
from emulator.latency import Profile
from emulator.processes.children import Processes
from emulator.protocol.errors import ArmError, NotEmulated, arm_error
from emulator.protocol.guard import guard
from emulator.protocol.operations import Operations
from emulator.protocol.resources import invalid_content
from emulator.services.assets import routes as assets
from emulator.services.assets.versions import Assets
from emulator.services.compute import routes as computes
from emulator.services.compute.clusters import Computes
from emulator.services.compute.nodes import Nodes
from emulator.services.discovery import routes as metadata
from emulator.services.hub import ROUTES as HUB
from emulator.services.hub import Hub
from emulator.services.identity import routes as identity
from emulator.services.jobs import routes as jobs
from emulator.services.jobs.base_weights import BaseWeights
from emulator.services.jobs.events import Webhook
from emulator.services.jobs.inputs import Locations
from emulator.services.jobs.records import Jobs
from emulator.services.jobs.runner import Runner
from emulator.services.registry import routes as registries
from emulator.services.serving import routes as endpoints
from emulator.services.serving import scoring
from emulator.services.serving.endpoints import Serving
from emulator.services.serving.scorers import Scorers
from emulator.services.storage import datastores
from emulator.services.storage import routes as blobs
from emulator.services.storage.blobs import Storage
from emulator.services.tracking import history
from emulator.services.tracking import routes as tracking
from emulator.services.tracking.server import TrackingServer
from emulator.services.workspace import routes as workspaces
from emulator.store import Store

WORKLOADS = Path(__file__).with_name("workloads")
SCORER = WORKLOADS / "score.py"
LOOPBACK = ("127.0.0.1", "localhost")


@dataclass
class Emulator:
    """Everything that a handler may reach."""

    config: Configuration
    clock: Clock
    store: Store
    profile: Profile
    faults: Faults
    journal: Journal
    catalogue: Catalogue
    operations: Operations
    processes: Processes
    storage: Storage
    assets: Assets
    locations: Locations
    computes: Computes
    nodes: Nodes
    tracking: TrackingServer
    runner: Runner
    serving: Serving
    hub: Hub

    async def start(self) -> None:
        """Take up what an earlier process on this state left under way."""
        if self.config.preload:
            await self.processes.preload(WORKLOADS)
        self.operations.recover()
        self.computes.recover()
        self.serving.recover()
        await self.runner.recover()

    async def close(self) -> None:
        """Stop everything; the state stays."""
        await self.operations.close()
        await self.runner.close()
        await self.runner.webhook.close()
        await self.tracking.close()
        await self.serving.scorers.close()
        await self.processes.stop_all()
        self.store.close()


def build(config: Configuration, clock: Clock | None = None) -> Emulator:
    """Put an emulator together on its state folder; nothing runs yet."""
    state = config.state
    clock = clock or ScaledClock(config.time_scale)
    profile = Profile(config.profile, config.time_scale, config.latencies)
    store = Store(state / "state.db")
    faults = Faults()
    operations = Operations(store, clock)
    processes = Processes(state / "processes")
    catalogue = load_catalogue()
    storage, assets = Storage(state / "blobs", store), Assets(store)
    locations = Locations(storage, assets, config.storage_suffix)
    computes = Computes(store, clock, profile, faults, operations, catalogue)

    async def start_node(_: str) -> None:
        await clock.sleep(profile.seconds("compute.start_node"))

    nodes = Nodes(computes.max_nodes, start_node)
    tracking = TrackingServer(state / "tracking", state / "jobs", processes, store)
    runner = Runner(
        folder=state / "jobs",
        jobs=Jobs(store),
        clock=clock,
        profile=profile,
        faults=faults,
        processes=processes,
        nodes=nodes,
        tracking=tracking,
        webhook=Webhook(config.event_webhook, clock.sleep),
        storage=storage,
        locations=locations,
        weights=BaseWeights(
            config.weights,
            config.cache,
            WORKLOADS / "base_weights.py",
            processes,
            state / "weights.log",
        ),
        workloads=WORKLOADS,
        location=REGION,
    )
    operations.verbs["job.cancel"] = runner.until_ended
    scorers = Scorers(state / "serving", SCORER, clock, profile, faults, processes)
    serving = Serving(scorers, store, clock, profile, faults, operations, assets, locations)
    return Emulator(
        config=config,
        clock=clock,
        store=store,
        profile=profile,
        faults=faults,
        journal=Journal(clock),
        catalogue=catalogue,
        operations=operations,
        processes=processes,
        storage=storage,
        assets=assets,
        locations=locations,
        computes=computes,
        nodes=nodes,
        tracking=tracking,
        runner=runner,
        serving=serving,
        hub=Hub(config.cache),
    )


def azure_app(emulator: Emulator) -> ASGIApp:
    """All hosts of the cloud, told apart by the Host header."""
    config = emulator.config
    hosts = {
        config.management_host: _application(emulator, guard(emulator, management_routes())),
        config.api_host: _application(emulator, guard(emulator, api_routes())),
        config.blob_host: _application(emulator, blobs.ROUTES),
    }
    endpoint_host = f".{REGION}.inference.{config.suffix}"
    scorers = _application(emulator, scoring.ROUTES)

    async def dispatch(scope: Scope, receive: Receive, send: Send) -> None:
        host = host_of(scope)
        app = scorers if host.endswith(endpoint_host) else hosts.get(host)
        if app is None:
            error = _unknown_host(host, config)
            await JSONResponse(error.body(), error.status)(scope, receive, send)
        else:
            await app(scope, receive, send)

    return dispatch


def management_routes() -> list[Route]:
    """The routes of Azure Resource Manager's host."""
    return [
        copy(route)
        for route in (
            *metadata.MANAGEMENT,
            *workspaces.ROUTES,
            *computes.ROUTES,
            *datastores.ROUTES,
            *assets.ROUTES,
            *jobs.ROUTES,
            *endpoints.ROUTES,
            *registries.MANAGEMENT,
        )
    ]


def api_routes() -> list[Route]:
    """The routes of the region's data plane."""
    parts = (metadata.API, history.ROUTES, tracking.ROUTES, registries.ROUTES)
    return [copy(route) for part in parts for route in part]


def plain_routes() -> list[BaseRoute]:
    """The routes that are asked without TLS."""
    return [*identity.ROUTES, *admin.ROUTES, Mount("/hub", routes=HUB)]


def plain_app(emulator: Emulator) -> ASGIApp:
    """The identity endpoint, the Hub stand-in, the admin routes; for loopback names only."""
    app = _application(emulator, plain_routes())

    async def loopback_only(scope: Scope, receive: Receive, send: Send) -> None:
        host = host_of(scope)
        if scope["type"] == "http" and host not in LOOPBACK:
            error = _unknown_host(host, emulator.config)
            await JSONResponse(error.body(), error.status)(scope, receive, send)
        else:
            await app(scope, receive, send)

    return loopback_only


def _unknown_host(host: str, config: Configuration) -> ArmError:
    if host.endswith("." + config.suffix):
        return NotEmulated(f"the host '{host}'.")
    text = f"'{host}' is not a host of this emulator, whose suffix is {config.suffix}."
    return ArmError(421, "MisdirectedRequest", text)


def _application(emulator: Emulator, routes: Sequence[BaseRoute]) -> Starlette:
    app = Starlette(
        routes=[*routes, Route("/{path:path}", not_emulated, methods=METHODS)],
        exception_handlers={ArmError: arm_error, ValueError: unreadable, Exception: broken},
    )
    app.state.emulator = emulator
    return app


async def unreadable(request: Request, error: Exception) -> Response:
    """A body that is no JSON; another ValueError is a fault of ours."""
    if isinstance(error, json.JSONDecodeError):
        return await arm_error(request, invalid_content(str(error)))
    raise error


async def broken(request: Request, _: Exception) -> Response:
    """A fault of ours, told in ARM's shape; the server logs the traceback."""
    text = f"{request.method} {request.url.path} failed; see the emulator's log."
    return await arm_error(request, ArmError(500, "InternalServerError", text))


METHODS = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"]


async def not_emulated(request: Request) -> Response:
    """The last route: what is not there is said with method and path, never faked."""
    raise NotEmulated(f"{request.method} {request.url.path}")
