"""Microsoft Entra's token endpoint for one tenant and one service principal; how it is found."""

import hmac
from typing import Any
from urllib.parse import parse_qs

import jwt
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from emulator.protocol import tokens
from emulator.protocol.errors import NotEmulated
from emulator.protocol.routing import Routes
from emulator.services.identity import principal, refusals
from emulator.services.identity.refusals import Refused
from emulator.services.identity.service import IdentityService

ASSERTION = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
ALGORITHMS = ["RS256", "PS256"]
DEFAULT_SCOPE = "/.default"
FAULT = "sign_in_refused"
#: Grants that Entra has for people, who do not sign in here.
FOR_PEOPLE = ("authorization_code", "password", "refresh_token",
              "urn:ietf:params:oauth:grant-type:device_code")  # fmt: skip


async def get_configuration(service: IdentityService, request: Request) -> Response:
    """The OpenID configuration of the tenant."""
    tenant = request.path_params["tenant"]
    if not _is_tenant(service, tenant):
        return _refusal(service, Refused(90002))
    base = f"https://{service.config.login_host}/{service.config.tenant_id}"
    return JSONResponse(
        {
            "issuer": f"{base}/v2.0",
            "authorization_endpoint": f"{base}/oauth2/v2.0/authorize",
            "token_endpoint": f"{base}/oauth2/v2.0/token",
            "token_endpoint_auth_methods_supported": ["client_secret_post", "private_key_jwt"],
            "response_types_supported": ["code", "token"],
            "subject_types_supported": ["pairwise"],
            "tenant_region_scope": "WW",
            "cloud_instance_name": service.config.login_host,
        }
    )


async def get_instance(service: IdentityService, request: Request) -> Response:
    """Instance discovery: this authority is the only one of its cloud."""
    host = service.config.login_host
    asked = request.query_params.get("authorization_endpoint", "")
    if not asked.startswith(f"https://{host}/"):
        body = {"error": "invalid_instance", "error_description": "AADSTS50049: Unknown instance."}
        return JSONResponse(body, 400)
    tenant = asked.removeprefix(f"https://{host}/").split("/")[0]
    names = {"preferred_network": host, "preferred_cache": host, "aliases": [host]}
    place = f"https://{host}/{tenant}/v2.0/.well-known/openid-configuration"
    return JSONResponse(
        {"tenant_discovery_endpoint": place, "api-version": "1.1", "metadata": [names]}
    )


async def post_token(service: IdentityService, request: Request) -> Response:
    """A token for the service principal: by secret, by certificate, by its workload's token."""
    body = (await request.body()).decode(errors="replace")
    given = {name: values[-1] for name, values in parse_qs(body).items()}
    try:
        audience = _granted(service, request.path_params["tenant"], given)
    except Refused as refused:
        return _refusal(service, refused)
    lifetime = service.config.token_lifetime_s
    token = tokens.issue(service.config, audience, service.clock.now(), lifetime)
    seconds = int(lifetime)
    times = {"expires_in": seconds, "ext_expires_in": seconds}
    return JSONResponse({"token_type": "Bearer", **times, "access_token": token})


def _granted(service: IdentityService, tenant: str, given: dict[str, str]) -> str:
    """The audience of the token that this request gets. Raises Refused."""
    fault = service.faults.take(FAULT)
    if fault is not None:
        code = str(fault["code"]).removeprefix("AADSTS")
        raise Refused(int(code) if code.isdecimal() and int(code) in refusals.KNOWN else 7000222)
    if not _is_tenant(service, tenant):
        raise Refused(90002)
    grant = given.get("grant_type", "")
    if grant in FOR_PEOPLE:
        raise NotEmulated(f"the grant type '{grant}'; a service principal can sign in, nobody else")
    if grant != "client_credentials":
        raise Refused(70003 if grant else 900144)
    if given.get("client_id") != service.config.identity.client:
        raise Refused(700016 if given.get("client_id") else 900144)
    _check_credential(service, given)
    return _audience(service, given.get("scope", ""))


def _check_credential(service: IdentityService, given: dict[str, str]) -> None:
    if "client_secret" in given:
        wanted = service.config.identity.client_secret
        if not hmac.compare_digest(given["client_secret"].encode(), wanted.encode()):
            raise Refused(7000215)
    elif given.get("client_assertion_type") == ASSERTION and given.get("client_assertion"):
        _check_assertion(service, given["client_assertion"])
    else:
        raise Refused(7000216)


def _check_assertion(service: IdentityService, assertion: str) -> None:
    """A certificate's assertion is by the client itself, a workload's by its issuer."""
    config = service.config
    try:
        told = jwt.decode(assertion, options={"verify_signature": False})
    except jwt.InvalidTokenError:
        raise Refused(50027) from None
    if told.get("iss") == config.identity.client:
        _verified(assertion, principal.certificate_key(config), Refused(700027))
        _check_claims(told, {"sub": (config.identity.client, 700027)})
        if config.login_host not in str(told.get("aud")):
            raise Refused(700027)
    else:
        if told.get("iss") != principal.issuer(config):
            raise Refused(700211)
        key = principal.workload_key(config).public_key()
        _verified(assertion, key, Refused(50013))
        wanted = {"aud": (principal.EXCHANGE, 700212), "sub": (principal.SUBJECT, 700213)}
        _check_claims(told, wanted)
    now = service.clock.now()
    if not float(told.get("nbf", 0)) - 300 <= now < float(told.get("exp", 0)):
        raise Refused(700024)


def _verified(assertion: str, key: Any, otherwise: Refused) -> None:
    unchecked = {"verify_aud": False, "verify_exp": False, "verify_nbf": False, "verify_iat": False}
    try:
        jwt.decode(assertion, key, algorithms=ALGORITHMS, options=unchecked)  # type: ignore[arg-type]
    except jwt.InvalidTokenError:
        raise otherwise from None


def _check_claims(told: dict[str, Any], wanted: dict[str, tuple[str, int]]) -> None:
    for name, (value, code) in wanted.items():
        if told.get(name) != value:
            raise Refused(code)


def _audience(service: IdentityService, scope: str) -> str:
    """The resource of a scope. Raises Refused: no such form, or no such resource here."""
    config = service.config
    if not scope.endswith(DEFAULT_SCOPE):
        raise Refused(70011)
    resource = scope.removesuffix(DEFAULT_SCOPE).rstrip("/")
    management, blobs = f"https://{config.management_host}", f"https://{config.blob_host}"
    if resource not in (management, config.audience, tokens.STORAGE, blobs):
        raise Refused(500011)
    return resource


def _is_tenant(service: IdentityService, tenant: str) -> bool:
    return tenant.lower() in (service.config.tenant_id, "organizations")


def _refusal(service: IdentityService, refused: Refused) -> Response:
    return refusals.answer(refused, service.clock.now(), service.config.login_host)


OPENID = "/.well-known/openid-configuration"
ROUTES: Routes[IdentityService] = [
    ("GET", "/common/discovery/instance", get_instance),
    ("GET", "/{tenant}/v2.0" + OPENID, get_configuration),
    ("GET", "/{tenant}" + OPENID, get_configuration),
    ("POST", "/{tenant}/oauth2/v2.0/token", post_token),
]
