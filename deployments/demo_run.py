"""The fine-tune that ``make demo`` runs: the preset ``laptop``, minutes on two CPU cores.

``python -m deployments.demo_run RESULT.json`` runs the flow in this process and leaves its result,
and the seconds that each of its steps took, as JSON.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from flows.fine_tune import fine_tune
from flows.lifecycle.events import step_seconds

#: The flow's parameter, which the flow itself validates.
RUN: dict[str, Any] = {"preset": "laptop"}


def main(argv: list[str]) -> int:
    """Run the flow and write what came of it; 0 if it completed."""
    parser = argparse.ArgumentParser(prog="python -m deployments.demo_run", description=__doc__)
    parser.add_argument("result", type=Path, metavar="RESULT.json", help="what came of it")
    target = parser.parse_args(argv).result
    state = fine_tune(**{"run": RUN}, return_state=True)
    found: dict[str, Any] = {"state": state.type.value, "steps": {}}
    if state.state_details.flow_run_id:
        found["steps"] = step_seconds(state.state_details.flow_run_id)
    if state.is_completed():
        found["result"] = state.result().model_dump(mode="json")
    else:
        found["error"] = str(state.message)
    target.write_text(json.dumps(found, indent=1), encoding="utf-8")
    return 0 if state.is_completed() else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
