"""How long any single request to Azure may take, whichever library makes it."""

from __future__ import annotations

from typing import Any

#: A hung request is given up and repeated; the SDK's own limit is 300 s for either. Azure lets a
#: scoring request take 180 s, so nothing that is merely slow is cut off.
CONNECT_TIMEOUT_S, READ_TIMEOUT_S = 20, 190


def request_limits() -> dict[str, Any]:
    """Return the limits (seconds) by the names under which every client of Azure's takes them."""
    return {"connection_timeout": CONNECT_TIMEOUT_S, "read_timeout": READ_TIMEOUT_S}
