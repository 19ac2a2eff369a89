"""The stand-in alone, without the rest of the emulator."""

from starlette.applications import Starlette
from starlette.routing import Mount

from emulator.protocol.routing import bound
from emulator.services.hub.hub import Hub
from emulator.services.hub.routes import ROUTES


def create_app(hub: Hub) -> Starlette:
    """Return an application with nothing but the stand-in, at ``/hub`` as in the emulator."""
    return Starlette(routes=[Mount("/hub", routes=bound(ROUTES, hub))])
