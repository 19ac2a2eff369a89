"""Plan a fine-tune: run every gate, say what would be created and what it costs, create nothing."""

import argparse
import json
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from uuid import uuid4

from prefect import flow
from prefect.logging import disable_run_logger
from prefect.runtime import flow_run
from prefect.settings import get_current_settings
from pydantic import ValidationError

from finetuning.azure import naming
from finetuning.azure.client import preload
from finetuning.errors import FineTuneError
from finetuning.form.run import FineTune
from finetuning.planning.findings import errors
from finetuning.planning.plan import PlanReport
from flows.lifecycle.context import named_once
from tasks.connection import find_settings
from tasks.plan import ask_gates, failed_gate
from tasks.reports import publish_plan, show, write_report


def run_name() -> str:
    """Return what the UI calls a plan: model, data, when."""
    run: FineTune = flow_run.parameters["run"]
    return named_once(f"plan · {run.model.name} · {run.data.title}")


@flow(name="plan", flow_run_name=run_name, validate_parameters=True, persist_result=False)
def plan(run: FineTune = FineTune()) -> PlanReport:  # noqa: B008  # frozen; the UI's form shows it
    """Tell in seconds what a fine-tune would create and cost, and what is wrong with it."""
    try:
        report = ask_gates(find_settings(), run, naming.run_key(str(flow_run.id), run.key))
    except FineTuneError as error:  # there is no way to the workspace: nothing else can be asked
        report = PlanReport(findings=[failed_gate("credential", error)])
    report = write_report(report)
    publish_plan(report)
    return report


def read_run(argv: list[str]) -> FineTune:
    """Return the run that a command line describes.

    Raises:
        SystemExit: it describes none; says which field is wrong.
    """
    parser = argparse.ArgumentParser(prog="python -m flows.plan", description=plan.__doc__)
    parser.add_argument("--run", type=Path, help="a JSON file with the flow's parameter 'run'")
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="FIELD=VALUE",
        help="one field, for example model.name=Phi-4 or parameters.num_train_epochs=1",
    )
    given = parser.parse_args(argv)
    try:
        values = json.loads(given.run.read_text(encoding="utf-8")) if given.run else {}
        for change in given.set:
            _set(values, *change.split("=", 1))
        return FineTune.model_validate(values)
    except ValidationError as error:
        wrong = error.errors()[0]
        where = ".".join(str(part) for part in wrong["loc"])
        parser.exit(1, f"run.{where}: {wrong['msg']} (given: {wrong['input']!r}).\n")
    except (OSError, ValueError, TypeError) as error:
        parser.exit(1, f"The run's parameters cannot be read: {error}.\n")


def _set(values: dict[str, Any], path: str, text: str) -> None:
    *parents, last = path.split(".")
    for parent in parents:
        values = values.setdefault(parent, {})
    structured = text[:1] in ("[", "{") or text == "null"
    values[last] = json.loads(text) if structured else text  # plain text becomes what the field is


def plan_alone(run: FineTune) -> PlanReport:
    """Plan without a Prefect server, which would take longer to start than all gates together.

    The same gates and the same report; only there are no artifacts, which nobody could look at.
    """
    key = naming.run_key(uuid4().hex, run.key)
    with disable_run_logger(), ThreadPoolExecutor() as pool:
        try:
            report = ask_gates(
                find_settings(), run, key, lambda gate, *given: pool.submit(gate.fn, *given)
            )
        except FineTuneError as error:
            report = PlanReport(findings=[failed_gate("credential", error)])
    return write_report(report)


def main(argv: list[str], show_report: Callable[[PlanReport], None] = show) -> int:
    """Plan, print the report, and return 1 where there is an error.

    With a Prefect server (``PREFECT_API_URL``) the plan is a flow run there, with its artifacts.
    """
    run = read_run(argv)
    with ThreadPoolExecutor(1) as beside:  # while this thread asks for the settings
        beside.submit(preload)
        report = plan(run) if get_current_settings().api.url else plan_alone(run)
    show_report(report)
    return 1 if errors(report.findings) else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
