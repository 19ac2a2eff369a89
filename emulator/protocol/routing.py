"""A service's routes as data, and how they get what they ask for."""

from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import TypeVar

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

Service = TypeVar("Service")
#: Gets the service before the request; there is no other way to reach one.
Handler = Callable[[Service, Request], Awaitable[Response]]
#: Methods (separated by blanks), path, handler.
Routes = Sequence[tuple[str, str, Handler[Service]]]


def bound(routes: Routes[Service], service: Service) -> list[Route]:
    """The routes as Starlette takes them, every handler with the service that it asks."""
    return [
        Route(path, partial(handler, service), methods=methods.split())
        for methods, path, handler in routes
    ]
