"""Programs that the tests end in every way: ``python -m tests.support.watched WHAT ...``.

``serve NAME FLOW`` serves a flow; ``run FILE`` and ``promote FILE`` run one in this process, with
the file's parameters.
"""

from __future__ import annotations

import signal
import sys
from pathlib import Path

from finetuning.form.promote import Promote
from finetuning.form.run import FineTune
from flows.fine_tune import fine_tune
from flows.promote import promote


def main(what: str, given: str, flow: str = "") -> None:
    # Where tests run in the background, programs inherit that Ctrl-C is ignored.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    if what == "serve":
        served = promote if flow == "promote" else fine_tune
        served.serve(name=given, pause_on_shutdown=False)
    elif what == "promote":
        promote(Promote.model_validate_json(Path(given).read_text()))
    elif what == "run":
        fine_tune(FineTune.model_validate_json(Path(given).read_text()))


if __name__ == "__main__":
    main(*sys.argv[1:])
