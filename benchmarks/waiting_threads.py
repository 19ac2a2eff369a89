"""``python -m benchmarks.waiting_threads``: many runs in one process, a thread each.

Reads the flow's parameter ``run``, one JSON object a line, and begins a run for each; prints a line
once it is ready. It stays until its input ends.
"""

from __future__ import annotations

import sys
import threading


def main() -> None:
    """Begin a run in a thread for every line."""
    from finetuning.azure.client import preload
    from finetuning.form.run import FineTune
    from flows.fine_tune import fine_tune

    preload()
    print("ready", flush=True)
    for line in sys.stdin:
        run = FineTune.model_validate_json(line)
        begun = {"return_state": True}
        threading.Thread(target=fine_tune, args=(run,), kwargs=begun, daemon=True).start()


if __name__ == "__main__":
    main()
