"""``fine-tune run``: in this terminal, its log passing by, or as a run of the deployment."""

from __future__ import annotations

import json
import sys
from typing import Any

from prefect import State
from prefect.exceptions import ObjectNotFound, PrefectHTTPStatusError

from commands.exit_codes import DONE, of_state
from commands.runs import described, line, read_report, server, show
from finetuning.form.command_line import Command, read_command

#: The deployment whose runs begin now.
DEPLOYMENT = "fine-tune/run"
ABOUT = (
    """Run a fine-tune in this terminal, or trigger the deployment fine-tune/run. Costs money."""
)
FLAGS = {
    "detach": "Trigger the deployment fine-tune/run, print the run's id, and return",
    "json": "Print JSON, for scripts",
}


def main(argv: list[str]) -> int:
    """Run, or trigger; the exit code."""
    command = read_command(argv, "fine-tune run", ABOUT, FLAGS)
    if "detach" in command.flags:
        return detach(command)
    return attached(command)


def detach(command: Command) -> int:
    """Trigger the deployment with what was given: what was not has the deployment's own values.

    Raises:
        SystemExit: there is no such deployment, or its server refuses the run; says why.
    """
    with server() as client:
        try:
            deployment = client.read_deployment_by_name(DEPLOYMENT)
            wanted = {**(deployment.parameters or {}).get("run", {}), **command.given}
            run = client.create_flow_run_from_deployment(deployment.id, parameters={"run": wanted})
        except ObjectNotFound:
            sys.exit(
                f"There is no deployment {DEPLOYMENT} on this Prefect server. "
                "'fine-tune up' serves it on this machine, 'make deploy' puts it on a server."
            )
        except PrefectHTTPStatusError as refused:
            sys.exit(f"The server refuses the run: {refused.response.text}")
    found = described(run)
    if "json" in command.flags:
        print(json.dumps(found, indent=1))
    else:
        print(line(found))
        print(f"fine-tune logs {found['flow_run_id']} --follow")
    return DONE


def attached(command: Command) -> int:
    """Run in this process, then print the report."""
    with server() as client:
        from flows.fine_tune import fine_tune

        state: State[Any] = fine_tune(command.run, return_state=True)
        run = state.state_details.flow_run_id
        found = read_report(client, run) if run else None
    if "json" in command.flags:
        told = found.model_dump(mode="json") if found else None
        ending = {"flow_run_id": str(run), "state": state.name, "message": state.message}
        print(json.dumps({**ending, "report": told}, indent=1))
    elif found is not None:
        show(found)
    else:
        print(f"{state.name}: {state.message}", file=sys.stderr)
    return of_state(state)
