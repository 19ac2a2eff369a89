"""What stands before every route of Azure's planes: the token, the scope, the caller's rights, and
the description of what is asked (``door``)."""

import re
from fnmatch import fnmatchcase

from starlette.requests import Request
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from emulator.clock import Clock
from emulator.configuration import Configuration
from emulator.protocol import tokens
from emulator.protocol.door import Asked, asked, check_content, check_version
from emulator.protocol.errors import ArmError, arm_error
from emulator.protocol.resources import TYPE
from emulator.protocol.scopes import check_scope

#: Paths that answer without a token, as on Azure: they tell where things are, or are signed.
OPEN = re.compile(r"^/(metadata/|discovery/|registrymanagement/)|/runs/[^/]+/logs/", re.IGNORECASE)
RESOURCE = re.compile(r"^/subscriptions/.*/workspaces/[^/]+(?P<below>/.*)?$", re.IGNORECASE)
REGION = re.compile(
    r"^/subscriptions/[^/]+/providers/(?P<provider>[^/]+)/locations/[^/]+/(?P<kind>[^/]+)",
    re.IGNORECASE,
)
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
            wanted = asked(request)
            _check(config, clock, request, wanted)
            if wanted is not None:
                content = await request.body() if wanted.has_body else b""
                check_content(wanted, content)
                receive = _again(content, receive) if wanted.has_body else receive
        except ArmError as error:
            response = await arm_error(request, error)
            await response(scope, receive, send)
            return
        await app(scope, receive, send)

    return checked


def _again(content: bytes, receive: Receive) -> Receive:
    """Let the handler read the body that the door has read."""
    unread = [{"type": "http.request", "body": content, "more_body": False}]

    async def from_memory() -> Message:
        return unread.pop() if unread else await receive()

    return from_memory


def _check(config: Configuration, clock: Clock, request: Request, wanted: Asked | None) -> None:
    """Raises ArmError 400, 401, 403 or 404."""
    path = request.url.path
    if not OPEN.search(path):
        header = request.headers.get("authorization")
        tokens.check(config, header, clock.now(), _audience(config, request))
    if wanted is not None:
        check_version(wanted)
    check_scope(config, request.path_params)
    check_right(config, request.method, path, config.denied_actions)


def _audience(config: Configuration, request: Request) -> tokens.Audience:
    if request.url.hostname == config.api_host:
        return tokens.for_workspace(config)
    return tokens.for_management(config)


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

    What a region offers belongs to the subscription: ``.../locations/usages/read``. None where
    roles have no say here.
    """
    verb = VERBS.get(method, "action")
    region = REGION.match(path)
    if region is not None:
        return f"{region['provider']}/locations/{region['kind']}/{verb}"
    match = RESOURCE.match(path)
    if match is None:
        return None
    words = (match["below"] or "").strip("/").split("/")
    if words[0].lower() == "providers":
        return None
    types = [word for word in words[::2] if word]
    return "/".join([TYPE, *types, verb])
