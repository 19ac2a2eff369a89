"""What a program of ours needs around it: the variables of ``.env``, and a Prefect server."""

from __future__ import annotations

import os
import sys

from prefect.client.orchestration import get_client
from prefect.settings import PREFECT_CLIENT_MAX_RETRIES, get_current_settings, temporary_settings

from finetuning.azure.settings import read_env_file
from finetuning.errors import SettingsError


def use_env_file() -> None:
    """Set the variables of ``.env`` that the environment lacks, also those of other libraries.

    Prefect reads its own from the same file.

    Raises:
        SystemExit: the file is wrong; says how.
    """
    try:
        found = read_env_file()
    except SettingsError as error:
        sys.exit(str(error))
    for name, value in found.items():
        os.environ.setdefault(name, value)


def need_server() -> str:
    """Return the address of the Prefect server, which answers.

    Raises:
        SystemExit: none is set, or it does not answer; says what to do.
    """
    api = get_current_settings().api.url
    if not api:
        sys.exit(
            "No Prefect server is named. Start one ('make up', or 'prefect server start') and set "
            "PREFECT_API_URL, for example to http://127.0.0.1:4200/api."
        )
    with (
        temporary_settings({PREFECT_CLIENT_MAX_RETRIES: 0}),
        get_client(sync_client=True) as client,
    ):
        error = client.api_healthcheck()
    if error is not None:
        sys.exit(
            f"The Prefect server {api} does not answer ({type(error).__name__}: {error}). "
            "Start it, or set PREFECT_API_URL to another."
        )
    return str(api)
