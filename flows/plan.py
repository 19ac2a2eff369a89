"""Plan a fine-tune: run every gate, say what would be created and what it costs, create nothing."""

import json
import os
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from uuid import uuid4

from prefect import flow
from prefect.logging import disable_run_logger
from prefect.runtime import flow_run
from prefect.settings import get_current_settings

from finetuning.azure import naming
from finetuning.azure.client import preload
from finetuning.azure.settings import load_settings
from finetuning.errors import FineTuneError
from finetuning.form.command_line import read_command
from finetuning.form.run import FineTune
from finetuning.planning.findings import errors
from finetuning.planning.plan import PlanReport
from flows.lifecycle.context import named_once
from flows.lifecycle.environment import need_server, use_env_file
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


def plan_alone(run: FineTune) -> PlanReport:
    """Plan without a Prefect server, which would take longer to start than all gates together.

    The same gates and the same report; only there are no artifacts, which nobody could look at.
    """
    key = naming.run_key(uuid4().hex, run.key)
    with disable_run_logger(), ThreadPoolExecutor() as pool:
        try:
            report = ask_gates(
                load_settings(), run, key, lambda gate, *given: pool.submit(gate.fn, *given)
            )
        except FineTuneError as error:
            report = PlanReport(findings=[failed_gate("credential", error)])
    return write_report(report)


def main(
    argv: list[str],
    show_report: Callable[[PlanReport], None] = show,
    program: str = "python -m flows.plan",
) -> int:
    """Plan, print the report, and return 1 where there is an error.

    With a Prefect server (``PREFECT_API_URL``) the plan is a flow run there, with its artifacts.
    """
    flags = {"json": "Print the report as JSON"}
    run, _, chosen = read_command(argv, program, str(plan.__doc__), flags)
    use_env_file()
    if get_current_settings().api.url or os.environ.get("FINETUNE_BLOCK"):
        need_server()  # which also has the blocks
    with ThreadPoolExecutor(1) as beside:  # while this thread asks for the settings
        beside.submit(preload)
        report = plan(run) if get_current_settings().api.url else plan_alone(run)
    if "json" in chosen:
        print(json.dumps(report.as_data(), indent=1))
    else:
        show_report(report)
    return 1 if errors(report.findings) else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
