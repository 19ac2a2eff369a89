"""``python -m benchmarks.resuming LEFT.json automation|poller``: parts of the suspended way.

``automation`` installs the one automation that resumes a run on its job's event, without those that
need the reaper's deployment. ``poller`` runs the poller's flow once in this process and leaves its
seconds, its CPU seconds and its peak of memory in MB.
"""

from __future__ import annotations

import json
import resource
import sys
import time
from pathlib import Path
from typing import Any
from uuid import uuid4


def automation() -> dict[str, Any]:
    """Install what resumes suspended runs."""
    from prefect.client.orchestration import get_client
    from prefect.events.actions import DoNothing, ResumeFlowRun

    from deployments.automations import Limits, automations, install

    declared = automations(DoNothing(), uuid4(), Limits())
    wanted = [one for one in declared if isinstance(one.actions[0], ResumeFlowRun)]
    with get_client(sync_client=True) as client:
        return {"installed": install(client, wanted)}


def poller() -> dict[str, Any]:
    """Run the poller once."""
    began = time.monotonic()
    from flows.resume import resume

    resumed = resume()
    used = resource.getrusage(resource.RUSAGE_SELF)
    return {
        "resumed": len(resumed),
        "seconds": round(time.monotonic() - began, 2),
        "cpu_s": round(used.ru_utime + used.ru_stime, 2),
        "peak_mb": round(used.ru_maxrss / 1024, 1),
    }


if __name__ == "__main__":
    done = {"automation": automation, "poller": poller}[sys.argv[2]]()
    Path(sys.argv[1]).write_text(json.dumps(done), encoding="utf-8")
