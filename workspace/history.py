"""Why a run of the workspace failed, in the service's own words.

The SDK tells a job's status but not its error; the studio reads it from the run history, and so
does this.
"""

from __future__ import annotations

from workspace.rest import get_json, history_url
from workspace.settings import Settings


def run_error(settings: Settings, run: str) -> str:
    """Return the error text of a run, or an empty string where the service gave none.

    Raises:
        azure.core.exceptions.AzureError: the history could not be asked.
    """
    details = get_json(settings, f"{history_url(settings)}/runs/{run}/details")
    error = (details.get("error") or {}).get("error") or details.get("error") or {}
    message = str(error.get("message") or "")
    code = str(error.get("code") or "")
    return f"{code}: {message}" if code and message else message
