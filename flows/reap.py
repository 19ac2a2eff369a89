"""Remove what dead runs left behind: the last line of defence, which trusts only the tags."""

import argparse
import sys
from datetime import UTC, datetime, timedelta

from prefect import flow, get_run_logger
from prefect.futures import PrefectFuture

from finetuning.azure.ownership import Decision, Ownership, decide
from finetuning.azure.settings import Settings
from finetuning.errors import FineTuneError, OrphansRemain
from finetuning.form.context import RunContext
from finetuning.form.run import Deadlines
from flows.lifecycle.context import FINE_TUNE
from flows.lifecycle.events import tell_of_expired
from flows.lifecycle.runs import find_owners
from tasks.connection import find_settings
from tasks.endpoint import delete_endpoint
from tasks.orphans import find_orphans, publish_reaping
from tasks.training import stop_job


@flow(name="reap", validate_parameters=True, persist_result=False, on_completion=[tell_of_expired])
def reap(
    dry_run: bool = False,
    silent_minutes: float = 10,
    pending_minutes: float = 15,
    deadlines: Deadlines | None = None,
) -> list[Decision]:
    """Remove endpoints and jobs of ours that no living run owns, or whose expiry has passed.

    What bears no tags of ours is never touched; what was asked to be kept stays until its expiry.

    Args:
        dry_run: Only say what would be removed.
        silent_minutes: Minutes without a heartbeat after which a running run counts as dead.
        pending_minutes: Minutes after which a run that was claimed and not begun is offered again;
            more than a container takes to start.
        deadlines: How long to wait for a deletion; the defaults of a fine-tune if empty.

    Raises:
        OrphansRemain: names what could not be removed; the next run of this flow tries again.
    """
    settings = find_settings()
    found = find_orphans(settings)
    owners = find_owners(
        FINE_TUNE,
        {one.flow_run_id for one in found},
        timedelta(minutes=silent_minutes),
        timedelta(minutes=pending_minutes),
        dry_run=dry_run,
    )
    decisions = [decide(one, owners, datetime.now(UTC)) for one in found]
    doomed = [one for one in decisions if one.remove]
    failures = {} if dry_run else remove(settings, doomed, deadlines or Deadlines())
    get_run_logger().info("%s", publish_reaping(decisions, failures, dry_run))
    if failures:
        raise OrphansRemain(failures)
    return decisions


def remove(settings: Settings, doomed: list[Decision], deadlines: Deadlines) -> dict[str, str]:
    """Remove all of it at once; return what could not be removed, and why."""
    removals: dict[str, PrefectFuture[bool]] = {}
    for one in (decision.found for decision in doomed):
        owner = Ownership(flow_run_id=one.flow_run_id, key=one.key, tags={})
        context = RunContext(settings=settings, owner=owner, deadlines=deadlines)
        if one.kind == "endpoint":
            removals[one.name] = delete_endpoint.submit(context, one.name)
        else:
            removals[one.name] = stop_job.submit(context, one.name)
    failures = {}
    for name, removal in removals.items():
        try:
            removal.result()
        except FineTuneError as error:
            failures[name] = str(error)
    return failures


def main(argv: list[str]) -> int:
    """Reap once; return 1 if something could not be removed."""
    parser = argparse.ArgumentParser(prog="python -m flows.reap", description=reap.__doc__)
    parser.add_argument("--dry-run", action="store_true", help="only say what would be removed")
    parser.add_argument(
        "--silent-minutes", type=float, default=10, help="minutes without a heartbeat (default 10)"
    )
    given = parser.parse_args(argv)
    try:
        reap(dry_run=given.dry_run, silent_minutes=given.silent_minutes)
    except FineTuneError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
