"""Programs that the tests end in every way: ``python -m tests.support.watched serve|run RUN.json``.

``serve NAME`` serves the flow; ``run FILE`` runs it in this process, with the file's parameters.
"""

from __future__ import annotations

import signal
import sys
from pathlib import Path

from finetuning.form.run import FineTune
from flows.fine_tune import fine_tune


def main(what: str, given: str) -> None:
    # Where tests run in the background, programs inherit that Ctrl-C is ignored.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    if what == "serve":
        fine_tune.serve(name=given, pause_on_shutdown=False)
    elif what == "run":
        fine_tune(FineTune.model_validate_json(Path(given).read_text()))


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2])
