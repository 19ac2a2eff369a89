"""Serve every deployment of ``prefect.yaml`` from this machine: no work pool, no worker.

``python -m deployments.serve`` talks to the Prefect server of ``PREFECT_API_URL`` and runs what is
triggered there, until it is stopped.
"""

from __future__ import annotations

import os

from prefect import serve

from deployments.declared import runner_deployments
from deployments.local_stack import ROOT

#: Flow runs at once. A waiting fine-tune is a sleeping process.
LIMIT = 10


def main() -> None:
    """Serve until stopped; the schedules go on when it is started again."""
    os.chdir(ROOT)  # entrypoints are paths from here
    serve(*runner_deployments(), limit=LIMIT, pause_on_shutdown=False)


if __name__ == "__main__":
    main()
