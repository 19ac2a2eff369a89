"""Remove what dead runs left behind: the last line of defence, which trusts only the tags."""

import argparse
import sys
from collections.abc import Mapping
from datetime import timedelta
from uuid import UUID

import httpx
from prefect import flow, get_run_logger
from prefect.client.orchestration import get_client
from prefect.exceptions import PrefectException
from prefect.futures import PrefectFuture
from prefect.runtime import flow_run

from finetuning.azure.ownership import Decision, Orphan, Ownership, decide, removes_many
from finetuning.azure.settings import Settings
from finetuning.errors import FineTuneError, OrphansRemain, RemovesTooMuch
from finetuning.form.context import RunContext
from finetuning.form.run import Deadlines
from flows.lifecycle.context import FINE_TUNE
from flows.lifecycle.environment import need_server, use_env_file
from flows.lifecycle.events import tell_of_expired
from flows.lifecycle.runs import Patiences, find_owners
from flows.lifecycle.server import reaping_server
from tasks.connection import find_settings
from tasks.endpoint import delete_endpoint
from tasks.orphans import find_endpoints, find_jobs, find_spare_deployments, publish_reaping
from tasks.promotion import retire_deployment
from tasks.training import stop_job


@flow(name="reap", validate_parameters=True, persist_result=False)
def reap(
    dry_run: bool = False,
    silent_minutes: float = 10,
    pending_minutes: float = 15,
    waiting_minutes: float = 60,
    removes_many: bool = False,
    lost_servers: tuple[str, ...] = (),
    deadlines: Deadlines | None = None,
) -> list[Decision]:
    """Remove endpoints and jobs of ours that no living run owns, or whose expiry has passed.

    What bears no tags of ours is never touched, nor what belongs to another Prefect server; what
    was asked to be kept, and what belongs to a run that is not known here, stays until its expiry.
    Of a product endpoint only deployments go that do not serve.

    Args:
        dry_run: Only list what would be removed.
        silent_minutes: Minutes without a heartbeat after which a running run counts as dead.
        pending_minutes: Minutes after which a run that a worker claimed but did not start is
            offered again. Longer than a container takes to start.
        waiting_minutes: Minutes after which a run that is due and that no worker claimed counts as
            dead. Longer than workers are busy with other runs.
        removes_many: Remove things even if more than half of the runs, and at least three, left
            some.
        lost_servers: Ids of Prefect servers that no longer exist. What they own is removed when it
            expires.
        deadlines: How long to wait for a deletion. Empty: as in a fine-tune.

    Raises:
        SettingsError: there is no Prefect server that could know the runs.
        RemovesTooMuch: nothing was removed; says what would have been.
        OrphansRemain: names what could not be looked at or removed; the next run tries again.
    """
    server, settings = reaping_server(), find_settings()
    found, failures = look_around(settings)
    known = find_owners(
        FINE_TUNE,
        {one.flow_run_id for one in found},
        Patiences(
            silent=timedelta(minutes=silent_minutes),
            pending=timedelta(minutes=pending_minutes),
            waiting=timedelta(minutes=waiting_minutes),
        ),
        dry_run=dry_run,
    )
    servers = {server, *lost_servers}
    decisions = [decide(one, known.owners, known.now, servers) for one in found]
    tell_of_expired(decisions)
    doomed = [one for one in decisions if one.remove]
    if dry_run:
        publish_reaping(decisions, failures, "would be removed")
    else:
        if not removes_many:
            refuse_many(decisions, failures)
        failures |= remove(settings, doomed, deadlines or Deadlines())
        publish_reaping(decisions, failures)
    rename_run(deed(decisions, failures, dry_run=dry_run))
    if failures:
        raise OrphansRemain(failures)
    return decisions


def look_around(settings: Settings) -> tuple[list[Orphan], dict[str, str]]:
    """Return what of ours is there, and what could not be looked at; each list by itself."""
    found: list[Orphan] = []
    failures: dict[str, str] = {}
    listings = {
        "endpoints": find_endpoints.submit(settings),
        "deployments": find_spare_deployments.submit(settings),
        "jobs": find_jobs.submit(settings),
    }
    for what, listing in listings.items():
        try:
            seen = listing.result()
        except FineTuneError as error:
            failures[f"the list of {what}"] = str(error)
        else:
            found += seen.found
            failures |= seen.problems
    return found, failures


def refuse_many(decisions: list[Decision], failures: dict[str, str]) -> None:
    """Remove nothing where much would go: a wrong or restored database looks like that.

    Raises:
        RemovesTooMuch: says what would have been removed.
    """
    amount = removes_many(decisions)
    if amount is None:
        return
    publish_reaping(decisions, failures, "NOT removed")
    refused = RemovesTooMuch(amount, [one.found.name for one in decisions if one.remove])
    get_run_logger().critical("%s", refused)
    raise refused


def deed(decisions: list[Decision], failures: Mapping[str, str], *, dry_run: bool) -> str:
    """Return what a run did, in the words by which the UI lists it."""
    doomed = sum(one.remove for one in decisions)
    if not doomed:
        return "nothing to remove"
    if dry_run:
        return f"would remove {doomed} of {len(decisions)}"
    left = f", {len(failures)} could not be removed" if failures else ""
    return f"removed {doomed - len(failures)} of {len(decisions)}{left}"


def rename_run(name: str) -> None:
    """Name this flow run after what it did; without an answer of the server the name stays."""
    try:
        with get_client(sync_client=True) as client:
            client.update_flow_run(UUID(str(flow_run.id)), name=name)
    except (httpx.HTTPError, PrefectException) as error:
        get_run_logger().warning("cannot rename this run to '%s': %s", name, error)


def remove(settings: Settings, doomed: list[Decision], deadlines: Deadlines) -> dict[str, str]:
    """Remove all of it at once; return what could not be removed, and why."""
    removals: dict[str, PrefectFuture[bool]] = {}
    for one in (decision.found for decision in doomed):
        owner = Ownership(flow_run_id=one.flow_run_id, key=one.key, tags={})
        context = RunContext(settings=settings, owner=owner, deadlines=deadlines)
        if one.kind == "endpoint":
            removals[one.name] = delete_endpoint.submit(context, one.name)
        elif one.kind == "deployment":
            removals[one.name] = retire_deployment.submit(context, *one.name.split("/"))
        else:
            removals[one.name] = stop_job.submit(context, one.name)
    failures = {}
    for name, removal in removals.items():
        try:
            removal.result()
        except Exception as error:  # whatever it is: the others are waited for, and it is reported
            failures[name] = str(error) or type(error).__name__
    return failures


def main(argv: list[str], program: str = "python -m flows.reap") -> int:
    """Reap once; return 1 if something could not be removed, or nothing was looked at."""
    parser = argparse.ArgumentParser(prog=program, description=reap.__doc__)
    parser.add_argument("--dry-run", action="store_true", help="only list what would be removed")
    parser.add_argument(
        "--silent-minutes", type=float, default=10, help="minutes without a heartbeat (default 10)"
    )
    parser.add_argument(
        "--removes-many",
        action="store_true",
        help="remove things even if more than half of the runs left some",
    )
    parser.add_argument(
        "--lost-server",
        action="append",
        default=[],
        metavar="ID",
        help="id of a Prefect server that no longer exists",
    )
    given = parser.parse_args(argv)
    use_env_file()
    need_server()  # which alone knows who lives
    try:
        find_settings()  # before there is a flow run that could only fail
        reaping_server()  # a flow that begins without a server would start a temporary one
        reap(
            dry_run=given.dry_run,
            silent_minutes=given.silent_minutes,
            removes_many=given.removes_many,
            lost_servers=tuple(given.lost_server),
        )
    except FineTuneError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
