"""``python -m benchmarks.clusters LEFT.json NAME=NODES ...``: make or scale clusters.

A cluster of no nodes holds every job that is sent to it in the queue, at no cost; given a node, its
jobs run.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from benchmarks.tiny import SIZE
from benchmarks.tutorial_script import clients


def main(target: Path, wanted: list[str]) -> None:
    """Bring every named cluster to so many nodes at most."""
    from azure.ai.ml.entities import AmlCompute

    workspace, _ = clients()
    for one in wanted:
        name, _, nodes = one.partition("=")
        cluster = AmlCompute(name=name, size=SIZE, tier="dedicated", max_instances=int(nodes))
        workspace.compute.begin_create_or_update(cluster).wait()
    target.write_text(json.dumps({"clusters": wanted}), encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2:])
