"""``python -m benchmarks.served NAME LIMIT``: serve flows as ``deployments.serve`` does.

Only what is measured: the fine-tune and the empty flow, without the schedules of the other
deployments. NAME is the deployments' name, LIMIT how many runs may be at once.
"""

from __future__ import annotations

import os
import sys

from prefect import serve
from prefect.flows import load_flow_from_entrypoint

from benchmarks.figures import ROOT

ENTRYPOINTS = ("flows/fine_tune.py:fine_tune", "benchmarks/floor_flow.py:floor")


def main(name: str, limit: int) -> None:
    """Serve until stopped."""
    os.chdir(ROOT)  # entrypoints are paths from here
    made = [load_flow_from_entrypoint(one).to_deployment(name=name) for one in ENTRYPOINTS]
    serve(*made, limit=limit, pause_on_shutdown=False)  # type: ignore[arg-type]


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
