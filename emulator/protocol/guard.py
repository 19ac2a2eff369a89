"""What stands before every route of Azure's planes: the token, the scope, the caller's rights."""

import re
from fnmatch import fnmatchcase

from starlette.requests import Request
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from emulator.clock import Clock
from emulator.configuration import Configuration
from emulator.protocol import tokens
from emulator.protocol.errors import ArmError, arm_error
from emulator.protocol.resources import TYPE
from emulator.protocol.scopes import check_scope

#: Paths that answer without a token, as on Azure: they tell where things are, or are signed.
OPEN = re.compile(r"^/(metadata/|discovery/|registrymanagement/)|/runs/[^/]+/logs/", re.IGNORECASE)
RESOURCE = re.compile(r"^/subscriptions/.*/workspaces/[^/]+(?P<below>/.*)?$", re.IGNORECASE)
VERBS = {"GET": "read", "HEAD": "read", "PUT": "write", "PATCH": "write", "DELETE": "delete"}


def guard(config: Configuration, clock: Clock, routes: list[Route]) -> list[Route]:
    """The routes, each checked first; their paths are compared without case, as ARM does."""
    for route in routes:
        route.path_regex = re.compile(route.path_regex.pattern, re.IGNORECASE)
        route.app = _checked(config, clock, route.app)
    return routes


def _checked(config: Configuration, clock: Clock, app: ASGIApp) -> ASGIApp:
    async def checked(scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(scope, receive)
        try:
            _check(config, clock, request)
        except ArmError as error:
            response = await arm_error(request, error)
            await response(scope, receive, send)
            return
        await app(scope, receive, send)

    return checked


def _check(config: Configuration, clock: Clock, request: Request) -> None:
    """Raises ArmError 401, 403 or 404."""
    path = request.url.path
    if not OPEN.search(path):
        header = request.headers.get("authorization")
        tokens.check(config, header, clock.now(), tokens.for_azure(config))
    check_scope(config, request.path_params)
    check_right(config, request.method, path, config.denied_actions)


def check_right(config: Configuration, method: str, path: str, denied: tuple[str, ...]) -> None:
    """Raises ArmError 403: an action that was taken from the caller with ``--deny``."""
    asked = action(method, path)
    if asked and any(fnmatchcase(asked.lower(), pattern.lower()) for pattern in denied):
        who = config.identity.principal
        raise ArmError(
            403,
            "AuthorizationFailed",
            f"The client '{who}' with object id '{who}' does not have authorization to perform "
            f"action '{asked}' over scope '{path}' or the scope is invalid. If access was recently "
            "granted, please refresh your credentials.",
        )


def action(method: str, path: str) -> str | None:
    """The name of what a request does, as roles name it: ``.../workspaces/jobs/write``.

    None where roles have no say: outside a workspace.
    """
    match = RESOURCE.match(path)
    if match is None:
        return None
    words = (match["below"] or "").strip("/").split("/")
    if words[0].lower() == "providers":
        return None
    types = [word for word in words[::2] if word]
    verb = VERBS.get(method, "action")
    return "/".join([TYPE, *types, verb])
