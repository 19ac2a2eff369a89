"""``python -m benchmarks.one_run LEFT.json PARAMETERS [FLOW]``: one run in this process, timed.

PARAMETERS are the parameter ``run`` as JSON, of the empty flow (FLOW is ``floor``) its number of
tasks. What it leaves: the flow run's id, and the spans (unix seconds) that the process spent in
calls to Azure and in waiting between two looks.
"""

from __future__ import annotations

import json
import sys
import threading
import time
from pathlib import Path
from typing import Any

#: Modules whose sleeps are waiting for the service: the SDK's pollers and our one wait.
WAITING = ("azure", "msrest", "tasks.waiting", "urllib3")


class Calls:
    """Spans of HTTP calls to Azure and the Hub, and of sleeps between two looks at them.

    Both libraries are patched below the SDK, which is the same for whoever calls; what Prefect's
    client sends goes by another library and is not among them.
    """

    def __init__(self) -> None:
        self.spans: list[tuple[float, float]] = []
        self._adding = threading.Lock()

    def watch(self) -> None:
        """Begin; before anything else is imported, since ``time.sleep`` is somebody's default."""
        import httpx2
        import urllib3

        real_sleep = time.sleep

        def sleep(seconds: Any) -> None:
            caller = str(sys._getframe(1).f_globals.get("__name__", ""))
            began = time.time()
            real_sleep(seconds)
            if caller.startswith(WAITING):
                self._add(began)

        time.sleep = sleep
        pool: Any = urllib3.HTTPConnectionPool
        pool.urlopen = self._timed(pool.urlopen)
        client: Any = httpx2.Client
        client.send = self._timed(client.send)

    def _timed(self, function: Any) -> Any:
        def timed(*args: Any, **kwargs: Any) -> Any:
            began = time.time()
            try:
                return function(*args, **kwargs)
            finally:
                self._add(began)

        return timed

    def _add(self, began: float) -> None:
        with self._adding:
            self.spans.append((began, time.time()))


def main(target: Path, parameters: str, flow: str = "fine_tune") -> int:
    """Run the flow once; 0 if it completed."""
    calls = Calls()
    calls.watch()
    if flow == "floor":
        from benchmarks.floor_flow import floor

        state: Any = floor(int(parameters), return_state=True)
    else:
        from finetuning.form.run import FineTune
        from flows.fine_tune import fine_tune

        run = FineTune.model_validate_json(parameters)
        state = fine_tune(run, return_state=True)
    left = {"id": str(state.state_details.flow_run_id), "calls": calls.spans}
    target.write_text(json.dumps(left), encoding="utf-8")
    return 0 if state.is_completed() else 1


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), *sys.argv[2:]))
