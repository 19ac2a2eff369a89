"""Azure's answers in our words: states as text, the SDK's exceptions as errors of this project."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TypeVar

from finetuning.errors import (
    EXPIRED_TOKEN,
    CredentialError,
    CredentialUnavailable,
    FineTuneError,
    ServiceError,
)

if TYPE_CHECKING:
    from azure.core.exceptions import ClientAuthenticationError, HttpResponseError

T = TypeVar("T")


def state_text(value: object) -> str:
    """Return a state as its text: the SDK gives text here and an enumeration there."""
    return str(getattr(value, "value", value))


def look_up(ask: Callable[..., T], *names: str, **more: str) -> T | None:
    """Return what Azure has under these names; None where it has no such thing.

    Only its 404 means that: a wrong credential is not taken for a missing resource.
    """
    from azure.core.exceptions import ResourceNotFoundError

    try:
        return ask(*names, **more)
    except ResourceNotFoundError:
        return None


@contextmanager
def service_errors(doing: str) -> Iterator[None]:
    """Turn the SDK's exceptions into ours, with the service's own words.

    Raises:
        CredentialError: 401, 403, or no token.
        ServiceError: anything else that Azure, or the way there, answered.
    """
    from azure.core.exceptions import AzureError, ClientAuthenticationError, HttpResponseError

    try:
        yield
    except FineTuneError:
        raise
    except ClientAuthenticationError as error:
        if error.status_code is not None and not _is_from_authority(error):
            raise _from_response(doing, error) from error  # a service refused the token
        raise _no_token(doing, error) from error
    except HttpResponseError as error:
        raise _from_response(doing, error) from error
    except AzureError as error:
        raise ServiceError(doing, None, type(error).__name__, first_lines(error)) from error


def _is_from_authority(error: ClientAuthenticationError) -> bool:
    """Whether an answer is that of who gives tokens, not of the service that was asked."""
    request = getattr(error.response, "request", None)
    return "/token" in str(getattr(request, "url", ""))


def _no_token(doing: str, error: ClientAuthenticationError) -> CredentialError:
    """Return the error of a token that was not given: refused, or not for now.

    A refusal comes with a 4xx answer of the authority, or with its code in the text (AADSTS...).
    """
    text = f"{doing}: no token was given: {first_lines(error)} "
    status = error.status_code or 0
    if "AADSTS" in str(error) or (400 <= status < 500 and status not in (408, 429)):
        return CredentialError(f"{text}Check the credential, and that its identity is still there.")
    return CredentialUnavailable(
        f"{text}The login service does not answer; check it if this lasts."
    )


def refusal_of(error: HttpResponseError) -> str:
    """Return why Azure refused a request or ended an operation, in its own words."""
    return str(getattr(error.error, "message", None) or first_lines(error))


def _from_response(doing: str, error: Any) -> FineTuneError:
    code = _code(error)
    message = refusal_of(error)
    if error.status_code in (401, 403) and code != EXPIRED_TOKEN:
        return CredentialError(
            f"{doing}: Azure returned HTTP {error.status_code} ({code}): {message} "
            "Check the role of the credential on this workspace."
        )
    return ServiceError(doing, error.status_code, code, message)


def _code(error: Any) -> str:
    code = getattr(error.error, "code", None) or _code_of_mlflow(error.response)
    return str(code or type(error).__name__)


def _code_of_mlflow(response: Any) -> str | None:
    """Return the code of an answer in MLflow's form: ``{"error_code": ..., "message": ...}``."""
    try:
        body = response.json()
    except (AttributeError, TypeError, ValueError):  # no answer, or none of JSON
        return None
    return body.get("error_code") if isinstance(body, dict) else None


def first_lines(error: BaseException, most: int = 600) -> str:
    """Return an error's text on one line, whole words of at most ``most`` characters."""
    text = " ".join(str(error).split())
    return text if len(text) <= most else text[: most + 1].rsplit(" ", 1)[0][:most]
