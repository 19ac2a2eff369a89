"""Serve every deployment of ``prefect.yaml`` from this machine: no work pool, no worker.

``python -m deployments.serve`` talks to the Prefect server of ``PREFECT_API_URL`` and runs what is
triggered there, until it is stopped.
"""

from __future__ import annotations

import argparse
import os
import sys

from prefect import serve

from deployments.declared import runner_deployments
from deployments.local_stack import ROOT
from flows.lifecycle.environment import need_server, use_env_file

#: Flow runs at once. A waiting fine-tune is a sleeping process.
LIMIT = 10


def main(argv: list[str]) -> None:
    """Serve until stopped; the schedules go on when it is started again."""
    parser = argparse.ArgumentParser(prog="python -m deployments.serve", description=__doc__)
    parser.add_argument("--preset", metavar="NAME", help="what a run has that names no preset")
    given = parser.parse_args(argv)
    use_env_file()
    need_server()
    os.chdir(ROOT)  # entrypoints are paths from here
    serve(*runner_deployments(given.preset), limit=LIMIT, pause_on_shutdown=False)


if __name__ == "__main__":
    main(sys.argv[1:])
