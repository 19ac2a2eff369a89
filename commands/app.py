"""``fine-tune``: the commands, and what is common to them. Each imports what it needs when it runs.

Exit codes: 0 it is done, or the run completed; 1 it was refused or failed, and why is said; 2 an
option is wrong; 3 the run was cancelled; 130 Ctrl-C.
"""

from __future__ import annotations

import json
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Annotated, Any

from cyclopts import App, Parameter

from commands.exit_codes import INTERRUPTED

#: All that follows a command which reads its own options.
Rest = Annotated[str, Parameter(allow_leading_hyphen=True, show=False)]
Json = Annotated[bool, Parameter("--json", negative="", help="Print JSON, for scripts.")]
RunName = Annotated[
    str, Parameter(help="The run's id or the beginning of it, its name, or 'last'.")
]

app = App(
    name="fine-tune",
    help="Fine-tune a chat model on Azure ML, and leave nothing running.",
    version=lambda: version("azureml-fine-tune-flow"),
    help_epilogue="Exit codes: 0 done, 1 refused or failed, 2 a wrong option, 3 cancelled.",
)


def main() -> None:
    """Run the command line of this process."""
    try:
        sys.exit(app(sys.argv[1:], exit_on_error=True))
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED)


@app.command(help_flags=[])
def demo(*options: Rest) -> int:
    """Show the whole fine-tune on this machine: an emulated Azure, two minutes, no account."""
    from deployments import demo

    return demo.main(list(options), "fine-tune demo")


@app.command(help_flags=[])
def up(*options: Rest) -> int:
    """Keep a whole system up on this machine: emulated Azure, Prefect server, deployments."""
    from deployments import up

    return up.main(list(options), "fine-tune up")


@app.command(help_flags=[])
def plan(*options: Rest) -> int:
    """Say what a run would create and cost, and what is wrong with it. Costs nothing."""
    from flows import plan

    return plan.main(list(options), program="fine-tune plan")


@app.command(help_flags=[])
def run(*options: Rest) -> int:
    """Run a fine-tune in this terminal, or trigger its deployment (--detach). Costs money."""
    from commands.run import main

    return main(list(options))


@app.command
def status(run: RunName = "last", /, *, json: Json = False) -> int:
    """Say how a run stands: its state, its steps, its job and its endpoint."""
    from commands import runs

    return _print(runs.status(run), runs.status_text, as_json=json)


@app.command
def logs(run: RunName = "last", /, *, follow: bool = False, json: Json = False) -> int:
    """Print a run's log.

    Parameters
    ----------
    follow
        Go on until the run has ended; the exit code is then the run's.
    """
    from commands import runs

    return runs.logs(run, follow=follow, as_json=json)


@app.command
def cancel(run: RunName, /, *, wait: bool = False, json: Json = False) -> int:
    """Cancel a run: its job is cancelled and its endpoint deleted.

    Parameters
    ----------
    wait
        Return only once it has ended.
    """
    from commands import runs

    return _print(runs.cancel(run, wait=wait), runs.line, as_json=json)


@app.command
def report(run: RunName = "last", /, *, html: Path | None = None, json: Json = False) -> int:
    """Print a run's report.

    Parameters
    ----------
    html
        Write it to this file instead, as a page that needs no other.
    """
    from commands import runs

    return runs.report(run, html=html, as_json=json)


@app.command(help_flags=[])
def reap(*options: Rest) -> int:
    """Delete what no living run owns (--dry-run only says so)."""
    from flows import reap

    return reap.main(list(options), "fine-tune reap")


@app.command
def prices(*, json: Json = False) -> int:
    """Print the price table that plans and budgets are reckoned with."""
    from commands.price_table import as_text, price_table

    return _print(price_table(), as_text, as_json=json)


def _print(found: Any, as_text: Any, *, as_json: bool) -> int:
    print(json.dumps(found, indent=1) if as_json else as_text(found))
    return 0
