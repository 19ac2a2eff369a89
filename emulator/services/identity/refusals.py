"""Why Microsoft Entra gives no token: the code, the OAuth error, the words.

Source: "Microsoft Entra authentication and authorization error codes".
"""

import uuid
from datetime import UTC, datetime

from starlette.responses import JSONResponse

#: Code: status, OAuth error, words.
KNOWN = {
    7000215: (401, "invalid_client", "Invalid client secret provided. Ensure the secret being sent "
              "in the request is the client secret value, not the client secret ID."),
    7000222: (401, "invalid_client", "The provided client secret keys for the app are expired. "
              "Create new keys in the Azure portal or use certificate credentials."),
    7000216: (401, "invalid_client", "'client_assertion', 'client_secret' or 'request' is required "
              "for the 'client_credentials' grant type."),
    700016: (400, "unauthorized_client", "The application was not found in the directory."),
    700024: (401, "invalid_client", "Client assertion is not within its valid time range."),
    700027: (401, "invalid_client", "The certificate with which the client assertion is signed is "
             "not registered on the application, or the signature is wrong."),
    700211: (400, "invalid_client", "No matching federated identity record found for presented "
             "assertion issuer."),
    700212: (400, "invalid_client", "No matching federated identity record found for presented "
             "assertion audience."),
    700213: (400, "invalid_client", "No matching federated identity record found for presented "
             "assertion subject."),
    50013: (400, "invalid_grant", "Assertion failed signature validation."),
    50027: (400, "invalid_request", "JWT token is invalid or malformed."),
    70003: (400, "unsupported_grant_type", "The app requested an unsupported grant type."),
    70011: (400, "invalid_scope", "The provided request must include a 'scope' input parameter "
            "that ends in /.default."),
    900144: (400, "invalid_request", "The request body must contain all of its parameters."),
    90002: (400, "invalid_request", "Tenant not found. Check to make sure you have the correct "
            "tenant ID and are signing into the correct cloud."),
    500011: (400, "invalid_resource", "The resource principal was not found in the tenant."),
    90033: (503, "temporarily_unavailable", "A transient error has occurred. Please try again."),
}  # fmt: skip


class Refused(Exception):
    """No token; ``code`` is the number behind AADSTS."""

    def __init__(self, code: int) -> None:
        super().__init__(code)
        self.code = code

    def __str__(self) -> str:
        return f"AADSTS{self.code}: {KNOWN[self.code][2]}"


def answer(refused: Refused, now: float, host: str) -> JSONResponse:
    """The refusal as the token endpoint tells it."""
    status, error, _ = KNOWN[refused.code]
    when = datetime.fromtimestamp(now, UTC).strftime("%Y-%m-%d %H:%M:%SZ")
    trace, correlation = str(uuid.uuid4()), str(uuid.uuid4())
    body = {
        "error": error,
        "error_description": f"{refused} Trace ID: {trace} Correlation ID: {correlation} "
        f"Timestamp: {when}",
        "error_codes": [refused.code],
        "timestamp": when,
        "trace_id": trace,
        "correlation_id": correlation,
        "error_uri": f"https://{host}/error?code={refused.code}",
    }
    return JSONResponse(body, status)
