"""The automations, as code: ``make automations`` installs them, and may be repeated.

Each is found by its name: what exists is brought up to date, nothing is made twice. With
``--notify TYPE/NAME`` (a Prefect block that notifies, or a ``webhook``) the alarms reach people;
without it they show in the event feed only.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from prefect.automations import AutomationCore
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.events.actions import (
    CallWebhook,
    DoNothing,
    ResumeFlowRun,
    RunDeployment,
    SendNotification,
)
from prefect.events.schemas.automations import EventTrigger, Posture
from prefect.exceptions import ObjectNotFound

from deployments.declared import declarations
from deployments.events import JOB_ENDED
from flows.lifecycle.environment import need_server
from flows.lifecycle.events import BUDGET_EXCEEDED, ENDPOINT_EXPIRED, MODEL_RETIRES
from flows.lifecycle.suspension import RESUMER

FINE_TUNE, REAPER = "fine-tune", "reap/every-15-minutes"
ANY_RUN = {"prefect.resource.id": ["prefect.flow-run.*"]}
ENDED = {f"prefect.flow-run.{state}" for state in ("Completed", "Failed", "Crashed", "Cancelled")}
#: What a run does that has a reason to send no heartbeat.
QUIET = {f"prefect.flow-run.{state}" for state in ("Suspended", "Paused", "AwaitingRetry")}
HEARTBEAT = "prefect.flow-run.heartbeat"

Alarm = SendNotification | CallWebhook | DoNothing


class NotInstalled(RuntimeError):
    """Something that the automations refer to is not on the server."""


@dataclass(frozen=True)
class Limits:
    """When to raise an alarm, and how patient the reaper is."""

    silent: timedelta = timedelta(minutes=3)
    pending: timedelta = timedelta(minutes=15)  # longer than a container takes to start
    waiting: timedelta = timedelta(hours=1)  # longer than workers are busy with other runs
    without_success: timedelta = timedelta(days=8)


def automations(alarm: Alarm, reaper: Any, limits: Limits) -> list[AutomationCore]:
    """Return all automations; ``reaper`` is the id of the reaper's deployment."""
    reap = RunDeployment(
        deployment_id=reaper,
        # Half of the silence: the reaper looks for itself, and a run that beats again lives on.
        parameters={
            "silent_minutes": limits.silent.total_seconds() / 120,
            "pending_minutes": limits.pending.total_seconds() / 60,
            "waiting_minutes": limits.waiting.total_seconds() / 60,
        },
    )
    return [
        AutomationCore(
            name="fine-tune: a run failed",
            description="A fine-tune ended Failed, TimedOut or Crashed.",
            trigger=_when({"prefect.flow-run.Failed", "prefect.flow-run.TimedOut", _CRASHED}),
            actions=[alarm],
        ),
        AutomationCore(
            name="fine-tune: a run fell silent",
            description="No heartbeat: the reaper checks whether it is dead, and restarts it.",
            trigger=EventTrigger(
                match=ANY_RUN,
                match_related=_of([FINE_TUNE]),
                after={HEARTBEAT},
                expect={HEARTBEAT, *ENDED, *QUIET},
                for_each={"prefect.resource.id"},
                posture=Posture.Proactive,
                within=limits.silent,
            ),
            actions=[reap],
        ),
        AutomationCore(
            name="fine-tune: a run was claimed and not begun",
            description="The reaper checks, and offers the run to another worker.",
            trigger=EventTrigger(
                match=ANY_RUN,
                match_related=_of([FINE_TUNE]),
                after={"prefect.flow-run.Pending"},
                expect={"prefect.flow-run.Running", *ENDED, *QUIET},
                for_each={"prefect.resource.id"},
                posture=Posture.Proactive,
                within=limits.pending,
            ),
            actions=[reap],
        ),
        AutomationCore(
            name="fine-tune: a run crashed",
            description="What it left is taken up again or removed at once.",
            trigger=_when({_CRASHED}),
            actions=[reap],
        ),
        AutomationCore(
            name="fine-tune: a run was cancelled",
            description="A suspended run has no process that could clean up after it.",
            trigger=_when({"prefect.flow-run.Cancelled"}),
            actions=[reap],
        ),
        AutomationCore(
            name=RESUMER,
            description="Azure's event resumes the run.",
            trigger=EventTrigger(
                match={"prefect.resource.id": ["azure-ml.job.*"]},
                expect=JOB_ENDED,
                for_each={"prefect.resource.id"},
                posture=Posture.Reactive,
            ),
            actions=[ResumeFlowRun()],
        ),
        AutomationCore(
            name="fine-tune: an endpoint outlived its expiry",
            description="The reaper found an endpoint that should be gone. It costs money.",
            trigger=EventTrigger(match={}, expect={ENDPOINT_EXPIRED}, posture=Posture.Reactive),
            actions=[alarm],
        ),
        AutomationCore(
            name="fine-tune: the reaper failed",
            description="What it did not remove still costs money.",
            trigger=_when({"prefect.flow-run.Failed", _CRASHED}, ["reap"]),
            actions=[alarm],
        ),
        AutomationCore(
            name="fine-tune: over budget",
            description="A run was ended because it had spent more than run.budget.",
            trigger=EventTrigger(match={}, expect={BUDGET_EXCEEDED}, posture=Posture.Reactive),
            actions=[alarm],
        ),
        AutomationCore(
            name="fine-tune: a scheduled run's model retires",
            description="While its schedule plans further runs: choose the successor before then.",
            trigger=EventTrigger(match={}, expect={MODEL_RETIRES}, posture=Posture.Reactive),
            actions=[alarm],
        ),
        AutomationCore(
            name="fine-tune: a schedule is late",
            description="A run was due and nobody took it up: is a worker or serve.py running?",
            trigger=_when({"prefect.flow-run.Late"}, _flow_names()),
            actions=[alarm],
        ),
        AutomationCore(
            name="fine-tune: no success for long",
            description=f"No fine-tune completed within {limits.without_success.days} days.",
            trigger=EventTrigger(
                match=ANY_RUN,
                match_related=_of([FINE_TUNE]),
                expect={"prefect.flow-run.Completed"},
                posture=Posture.Proactive,
                within=limits.without_success,
            ),
            actions=[alarm],
        ),
    ]


_CRASHED = "prefect.flow-run.Crashed"


def _when(events: set[str], flows: Iterable[str] = (FINE_TUNE,)) -> EventTrigger:
    return EventTrigger(
        match=ANY_RUN, match_related=_of(flows), expect=events, posture=Posture.Reactive
    )


def _of(flows: Iterable[str]) -> dict[str, Any]:
    return {"prefect.resource.role": "flow", "prefect.resource.name": list(flows)}


def _flow_names() -> list[str]:
    functions = (one["entrypoint"].split(":")[1] for one in declarations())
    return sorted(name.replace("_", "-") for name in functions)


def install(client: SyncPrefectClient, wanted: list[AutomationCore]) -> dict[str, str]:
    """Create what is missing and update the rest; what was done, by name."""
    done = {}
    for one in wanted:
        found = client.read_automations_by_name(one.name)
        if found:
            client.update_automation(found[0].id, one)
        else:
            client.create_automation(one)
        done[one.name] = "updated" if found else "created"
    return done


def find_alarm(client: SyncPrefectClient, block: str | None) -> Alarm:
    """Return the action that tells people, by a block ``TYPE/NAME``; none: the event feed only.

    Raises:
        NotInstalled: there is no such block.
    """
    if block is None:
        return DoNothing()
    kind, _, name = block.partition("/")
    try:
        document = client.read_block_document_by_name(name, kind)
    except ObjectNotFound:
        raise NotInstalled(
            f"There is no block '{block}'. Make it in the UI, and give TYPE/NAME as in its address."
        ) from None
    if kind == "webhook":
        return CallWebhook(block_document_id=document.id, payload=_TEXT)
    return SendNotification(
        block_document_id=document.id, subject="{{ automation.name }}", body=_TEXT
    )


_TEXT = "{{ automation.name }}: {{ event.event }} of {{ event.resource.name or event.resource.id }}"


def find_reaper(client: SyncPrefectClient) -> Any:
    """Return the id of the reaper's deployment.

    Raises:
        NotInstalled: it is not deployed.
    """
    try:
        return client.read_deployment_by_name(REAPER).id
    except ObjectNotFound:
        raise NotInstalled(
            f"There is no deployment '{REAPER}'. Run 'make deploy' or deployments/serve.py first."
        ) from None


def main(argv: list[str]) -> int:
    """Install all automations; 1 if something they need is not there."""
    parser = argparse.ArgumentParser(prog="python -m deployments.automations", description=__doc__)
    parser.add_argument("--notify", metavar="TYPE/NAME", help="the block that notifies people")
    parser.add_argument(
        "--silent-seconds", type=float, default=180, help="seconds without a heartbeat"
    )
    parser.add_argument(
        "--pending-seconds", type=float, default=900, help="seconds a claimed run may take to start"
    )
    parser.add_argument(
        "--waiting-seconds", type=float, default=3600, help="seconds a due run may stay unclaimed"
    )
    parser.add_argument(
        "--success-days", type=float, default=8, help="days without a completed run"
    )
    given = parser.parse_args(argv)
    limits = Limits(
        timedelta(seconds=given.silent_seconds),
        timedelta(seconds=given.pending_seconds),
        timedelta(seconds=given.waiting_seconds),
        timedelta(days=given.success_days),
    )
    need_server()
    try:
        with get_client(sync_client=True) as client:
            alarm, reaper = find_alarm(client, given.notify), find_reaper(client)
            done = install(client, automations(alarm, reaper, limits))
    except NotInstalled as error:
        print(error, file=sys.stderr)
        return 1
    print("\n".join(f"{what}  {name}" for name, what in done.items()))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
