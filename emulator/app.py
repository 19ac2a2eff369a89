"""The composition root: one store, one clock, every part, every route."""

import json
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Mount, Route
from starlette.types import ASGIApp, Receive, Scope, Send

from emulator import admin
from emulator.catalogue import Catalogue, load_catalogue
from emulator.catalogue.seed import read_seed, seeded
from emulator.clock import Clock, ScaledClock
from emulator.configuration import REGION, Configuration
from emulator.faults import Faults, Journal, host_of
from emulator.latency import Profile
from emulator.processes.children import Processes
from emulator.protocol import operations
from emulator.protocol.errors import ArmError, NotEmulated, arm_error
from emulator.protocol.guard import guard
from emulator.protocol.headers import WithHeaders
from emulator.protocol.operations import Operations
from emulator.protocol.resources import invalid_content
from emulator.protocol.routing import bound
from emulator.protocol.verification import Verification, Verified
from emulator.services import hub
from emulator.services.assets import codes
from emulator.services.assets import routes as assets
from emulator.services.assets.addresses import Locations, is_published
from emulator.services.assets.registration import Registration
from emulator.services.assets.versions import Assets
from emulator.services.compute import quotas
from emulator.services.compute import routes as compute
from emulator.services.compute.clusters import Clusters
from emulator.services.compute.nodes import Nodes
from emulator.services.compute.quotas import Quotas
from emulator.services.discovery import routes as discovery
from emulator.services.identity import routes as identity
from emulator.services.identity import sign_in
from emulator.services.identity.service import IdentityService
from emulator.services.jobs import job_environment
from emulator.services.jobs import routes as jobs
from emulator.services.jobs.base_weights import BaseWeights
from emulator.services.jobs.command_jobs import CommandJobs
from emulator.services.jobs.command_runs import CommandRuns
from emulator.services.jobs.events import Webhook
from emulator.services.jobs.fine_tunes import FineTunes
from emulator.services.jobs.programs import Programs
from emulator.services.jobs.records import Jobs, Record
from emulator.services.jobs.runner import Runner
from emulator.services.jobs.runs import Runs
from emulator.services.jobs.sources import Sources
from emulator.services.registry import routes as registry
from emulator.services.serving import routes as endpoints
from emulator.services.serving import scoring
from emulator.services.serving.endpoints import Serving
from emulator.services.serving.preparation import Preparation
from emulator.services.serving.scorers import Scorers
from emulator.services.storage import datastores
from emulator.services.storage import routes as storage
from emulator.services.storage.blob_calls import StorageService
from emulator.services.storage.blobs import Storage
from emulator.services.tracking import history
from emulator.services.tracking import routes as mlflow
from emulator.services.tracking.registered_models import RegisteredModels
from emulator.services.tracking.server import TrackingServer
from emulator.services.workspace import routes as workspace
from emulator.store import Store

WORKLOADS = Path(__file__).with_name("workloads")
SCORER = WORKLOADS / "score.py"
LOOPBACK = ("127.0.0.1", "localhost")


class Emulator:
    """The parts of one emulator on its state folder. No route sees it; ``start`` makes it run."""

    def __init__(self, config: Configuration, clock: Clock | None = None) -> None:
        state = config.state
        self.config = config
        self.clock = clock or ScaledClock(config.time_scale)
        self.profile = Profile(config.profile, config.time_scale, config.latencies)
        self.store = Store(state / "state.db")
        self.faults = Faults()
        self.journal = Journal(self.clock)
        self.verification = Verification()
        self.catalogue = _catalogue(config.seed)
        self.operations = Operations(self.store, config, self.profile, self.clock)
        self.processes = Processes(state / "processes")
        self.storage = Storage(state / "blobs", self.store)
        self.assets = Assets(self.store)
        self.jobs = Jobs(self.store)
        self.locations = Locations(
            self.storage, self.assets, config.storage_suffix, self.jobs.output
        )
        self.registration = Registration(config, self.clock, self.assets, self.locations)
        self.quotas = Quotas(
            config, self.store, self.catalogue, lambda name: self.nodes.pool(name).up
        )
        self.clusters = Clusters(
            self.store, self.clock, self.profile, self.faults, self.operations, self.quotas
        )
        self.nodes = Nodes(
            self.clusters.max_nodes, self._start_node, self.quotas.room, self._idle_over
        )
        self.tracking = TrackingServer(
            state / "tracking", state / "jobs", self.processes, self.store
        )
        self.runner = self._runner()
        self.operations.verbs["job.cancel"] = self.runner.until_ended
        scorers = Scorers(
            state / "serving", SCORER, self.clock, self.profile, self.faults, self.processes
        )
        self.serving = Serving(
            scorers, self.store, self.clock, self.profile, self.faults, self.operations,
            Preparation(scorers.folder, self.assets, self.locations), self.nodes.look_again,
        )  # fmt: skip
        self.hub = hub.Hub(config.cache)

    def _runner(self) -> Runner:
        config, state = self.config, self.config.state
        webhook = Webhook(config.event_webhook, self.clock.sleep)
        runs = Runs(
            state / "jobs", self.jobs, self.clock, self.tracking, webhook, self.storage, REGION
        )
        programs = Programs(runs, self.nodes, self.faults)
        weights = BaseWeights(
            config.weights, config.cache, WORKLOADS / "base_weights.py", self.processes,
            state / "weights.log",
        )  # fmt: skip
        sources = Sources(self.locations, partial(is_published, self.catalogue), weights)
        commands = CommandRuns(
            self.assets, self.storage, self.locations, self.processes, self._variables
        )
        return Runner(
            runs,
            self.profile,
            FineTunes(runs, programs, sources, self.processes, WORKLOADS),
            CommandJobs(runs, programs, sources, commands),
        )

    def _variables(self, record: Record) -> dict[str, str]:
        return job_environment.variables(self.config, record, self.clock.now())

    async def _start_node(self, _: str) -> None:
        await self.clock.sleep(self.profile.seconds("compute.start_node"))

    async def _idle_over(self, compute: str) -> None:
        """How long an idle node stays: the cluster's own time, none where nothing takes time."""
        if self.profile.name != "fast":
            await self.clock.sleep(self.clusters.idle_seconds(compute))

    async def start(self) -> None:
        """Take up what an earlier process on this state left under way."""
        if self.config.preload:
            await self.processes.preload(WORKLOADS)
        self.operations.recover()
        self.clusters.recover()
        self.serving.recover()
        await self.runner.recover()

    async def close(self) -> None:
        """Stop everything; the state stays."""
        await self.operations.close()
        await self.runner.close()
        await self.nodes.close()
        await self.runner.runs.webhook.close()
        await self.tracking.close()
        await self.serving.scorers.close()
        await self.processes.stop_all()
        self.store.close()


def _catalogue(seed: Path | None) -> Catalogue:
    """What the registries and the region offer. Raises BrokenSeed."""
    return load_catalogue() if seed is None else seeded(load_catalogue(), read_seed(seed))


def azure_app(emulator: Emulator) -> ASGIApp:
    """All hosts of the cloud, told apart by the Host header."""
    config, clock = emulator.config, emulator.clock
    hosts: dict[str, ASGIApp] = {
        config.management_host: WithHeaders(
            _application(guard(config, clock, management_routes(emulator)))
        ),
        config.api_host: WithHeaders(_application(guard(config, clock, api_routes(emulator)))),
        config.blob_host: _application(storage_routes(emulator)),
        config.login_host: _application(sign_in_routes(emulator)),
    }
    endpoint_host = f".{REGION}.inference.{config.suffix}"
    scorers = _application(scoring_routes(emulator))

    async def dispatch(scope: Scope, receive: Receive, send: Send) -> None:
        host = host_of(scope)
        app = scorers if host.endswith(endpoint_host) else hosts.get(host)
        if app is None:
            error = _unknown_host(host, config)
            await JSONResponse(error.body(), error.status)(scope, receive, send)
        else:
            await app(scope, receive, send)

    return _seen(emulator, dispatch)


def _seen(emulator: Emulator, app: ASGIApp) -> ASGIApp:
    """The app, its answers held against their descriptions where the options ask for it."""
    return Verified(app, emulator.verification) if emulator.config.verify_answers else app


def management_routes(emulator: Emulator) -> list[Route]:
    """The routes of Azure Resource Manager's host."""
    return [
        *bound(discovery.MANAGEMENT, _discovery(emulator)),
        *bound(operations.ROUTES, emulator.operations),
        *bound(workspace.ROUTES, emulator.config),
        *bound(quotas.ROUTES, emulator.quotas),
        *bound(
            compute.ROUTES,
            compute.ComputeService(
                emulator.config,
                emulator.clock,
                emulator.catalogue,
                emulator.operations,
                emulator.clusters,
                emulator.nodes,
            ),
        ),
        *bound(datastores.ROUTES, datastores.DatastoreService(emulator.config, emulator.clock)),
        *bound(
            assets.ROUTES,
            assets.AssetService(
                emulator.config, emulator.clock, emulator.assets, emulator.registration
            ),
        ),
        *bound(
            codes.ROUTES,
            codes.CodeService(emulator.config, emulator.clock, emulator.storage),
        ),
        *bound(
            jobs.ROUTES,
            jobs.JobService(
                emulator.config,
                emulator.clock,
                emulator.catalogue,
                emulator.operations,
                emulator.clusters,
                emulator.assets,
                emulator.jobs,
                emulator.runner,
            ),
        ),
        *bound(
            endpoints.ROUTES,
            endpoints.EndpointService(
                emulator.config,
                emulator.clock,
                emulator.catalogue,
                emulator.operations,
                emulator.serving,
                emulator.quotas,
            ),
        ),
        *bound(registry.MANAGEMENT, registry.RegistryService(emulator.config, emulator.catalogue)),
    ]


def api_routes(emulator: Emulator) -> list[Route]:
    """The routes of the region's data plane."""
    runs = history.HistoryService(
        emulator.config, emulator.clock, emulator.jobs, emulator.runner.runs, emulator.storage
    )
    models = RegisteredModels(emulator.registration, emulator.jobs)
    return [
        *bound(discovery.API, _discovery(emulator)),
        *bound(history.ROUTES, runs),
        *bound(mlflow.ROUTES, mlflow.MlflowService(emulator.tracking, models)),
        *bound(registry.ROUTES, registry.RegistryService(emulator.config, emulator.catalogue)),
    ]


def _discovery(emulator: Emulator) -> discovery.DiscoveryService:
    return discovery.DiscoveryService(emulator.config, emulator.catalogue)


def storage_routes(emulator: Emulator) -> list[Route]:
    """The routes of the storage account's blob service."""
    service = StorageService(emulator.config, emulator.clock, emulator.storage)
    return bound(storage.ROUTES, service)


def sign_in_routes(emulator: Emulator) -> list[Route]:
    """The routes of the host where a service principal gets its tokens."""
    return bound(sign_in.ROUTES, _identity(emulator))


def _identity(emulator: Emulator) -> IdentityService:
    return IdentityService(emulator.config, emulator.clock, emulator.faults)


def scoring_routes(emulator: Emulator) -> list[Route]:
    """The routes of every online endpoint's own host."""
    service = scoring.ScoringService(
        emulator.config, emulator.clock, emulator.serving, emulator.faults
    )
    return bound(scoring.ROUTES, service)


def plain_routes(emulator: Emulator) -> list[Route]:
    """The routes that are asked without TLS, but for the Hub's."""
    inside = admin.Admin(
        emulator.config,
        emulator.clusters,
        emulator.jobs,
        emulator.assets,
        emulator.serving,
        emulator.processes,
        emulator.journal,
        emulator.faults,
        emulator.verification,
    )
    return [
        *bound(identity.ROUTES, _identity(emulator)),
        *bound(admin.ROUTES, inside),
    ]


def hub_routes(emulator: Emulator) -> list[Route]:
    """The routes of the Hugging Face Hub's stand-in, below ``/hub``."""
    return bound(hub.ROUTES, emulator.hub)


def plain_app(emulator: Emulator) -> ASGIApp:
    """The identity endpoint, the Hub stand-in, the admin routes; for loopback names only."""
    app = _application([*plain_routes(emulator), Mount("/hub", routes=hub_routes(emulator))])

    async def loopback_only(scope: Scope, receive: Receive, send: Send) -> None:
        host = host_of(scope)
        if scope["type"] == "http" and host not in LOOPBACK:
            error = _unknown_host(host, emulator.config)
            await JSONResponse(error.body(), error.status)(scope, receive, send)
        else:
            await app(scope, receive, send)

    return _seen(emulator, loopback_only)


def _unknown_host(host: str, config: Configuration) -> ArmError:
    if host.endswith("." + config.suffix):
        return NotEmulated(f"the host '{host}'.")
    text = f"'{host}' is not a host of this emulator, whose suffix is {config.suffix}."
    return ArmError(421, "MisdirectedRequest", text)


def _application(routes: Sequence[BaseRoute]) -> Starlette:
    return Starlette(
        routes=[*routes, Route("/{path:path}", not_emulated, methods=METHODS)],
        exception_handlers={ArmError: arm_error, ValueError: unreadable, Exception: broken},
    )


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
