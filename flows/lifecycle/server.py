"""The Prefect server: which one it is, and what time it is there.

Every resource is tagged with its server's id, so that a reaper that asks another one leaves it
alone. Whether a run is silent or late is judged by the server's clock only: it wrote the times.
"""

from __future__ import annotations

from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from uuid import uuid4

import httpx
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.actions import VariableCreate
from prefect.exceptions import ObjectAlreadyExists, PrefectException
from prefect.settings import get_current_settings

from finetuning.azure.ownership import TEMPORARY_SERVER, UNKNOWN_SERVER
from finetuning.errors import SettingsError

#: The Prefect variable that holds the server's id: Prefect has none of its own.
VARIABLE = "finetune_server_id"
#: Longest id; Azure cuts the values of tags at 256 characters.
LONGEST = 64


#: By address: a process asks once.
_known: dict[str, str] = {}


def server_id() -> str:
    """Return the id by which resources name the Prefect server that this process asks.

    Whoever asks a server first makes it, as a variable there. A server that does not answer is
    ``unknown`` and asked again the next time; without a server that outlives this process it is
    ``temporary``. Of what bears one of these two, a reaper leaves until its expiry what it does not
    know the run of.

    Raises:
        SettingsError: the variable holds what cannot be an id.
    """
    address = get_current_settings().api.url
    if not address:
        return TEMPORARY_SERVER
    if address not in _known:
        try:
            with get_client(sync_client=True) as client:
                _known[address] = _agreed(client)
        except (httpx.HTTPError, PrefectException):
            return UNKNOWN_SERVER
    return _known[address]


def server_tag() -> str:
    """Return the same for a tag, which is written whatever is wrong: ``unknown`` says least."""
    try:
        return server_id()
    except SettingsError:  # the reaper says it aloud; a run that has begun is not ended by it
        return UNKNOWN_SERVER


def reaping_server() -> str:
    """Return the id of the server that knows the runs whose orphans may be removed.

    Raises:
        SettingsError: there is no such server: a temporary one knows no run and would take every
            living one for dead.
    """
    found = server_id()
    if found == TEMPORARY_SERVER:
        raise SettingsError(
            "PREFECT_API_URL is not set, so this would ask a temporary Prefect server, which knows "
            "no runs. Set it to the server that runs the fine-tunes; nothing was looked at."
        )
    if found == UNKNOWN_SERVER:
        raise SettingsError(
            "The Prefect server of PREFECT_API_URL does not say which one it is: it does not "
            "answer. Nothing was looked at; try again once it does."
        )
    return found


def _agreed(client: SyncPrefectClient) -> str:
    """Return the server's id; of several processes that find none, the first one's is all's."""
    variable = client.read_variable_by_name(VARIABLE)
    if variable is None:
        try:
            client.create_variable(VariableCreate(name=VARIABLE, value=str(uuid4())))
        except ObjectAlreadyExists:
            pass  # another process was first
        variable = client.read_variable_by_name(VARIABLE)
    value = variable.value if variable else None
    wrong = (TEMPORARY_SERVER, UNKNOWN_SERVER)
    if not isinstance(value, str) or not 0 < len(value) <= LONGEST or value in wrong:
        raise SettingsError(
            f"The Prefect variable '{VARIABLE}' is {value!r}, which cannot be a server's id. "
            "Set it back to the value of the tag finetune.server on this server's endpoints."
        )
    return value


def server_time(client: SyncPrefectClient) -> datetime:
    """Return what time it is on the server; this machine's where it does not tell."""
    try:
        answer = client.hello()
    except httpx.HTTPStatusError as error:  # whatever it answered, it says when
        answer = error.response
    try:
        told = parsedate_to_datetime(answer.headers.get("Date", ""))
    except ValueError:
        return datetime.now(UTC)
    return told if told.tzinfo else told.replace(tzinfo=UTC)


def time_there() -> datetime:
    """Return what time it is on the Prefect server that this process asks."""
    with get_client(sync_client=True) as client:
        return server_time(client)
