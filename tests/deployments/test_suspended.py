"""Runs that wait for their job without a process: resumed by Azure's event, or by the poller."""

from __future__ import annotations

import os
import subprocess
import sys
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from uuid import UUID

import httpx
import pytest
from prefect.client.schemas.objects import FlowRun
from prefect.events.actions import DoNothing
from prefect.states import Cancelled

from deployments.automations import Limits, automations
from deployments.local_stack import ROOT, free_port, running
from finetuning.errors import DeadlineExceeded, SettingsError
from finetuning.form.run import FineTune
from flows.fine_tune import fine_tune
from flows.lifecycle.runs import GRACE
from flows.lifecycle.server import time_there
from flows.reap import reap
from flows.resume import resume
from tests.conftest import RunningEmulator, running_emulator
from tests.support.prefect_servers import QUICK
from tests.support.prefect_servers import prefect_server as own_server
from tests.support.runs import endless, names, small
from tests.support.stage import Stage
from tests.support.waiting import until

pytestmark = pytest.mark.slow
#: What the server makes of an event that names a run it does not have.
UNKNOWN_RUN = "resume_flow_run"

CODE = "known-to-event-grid-only"


@contextmanager
def listening(folder: Path, port: int, env: dict[str, str]) -> Iterator[None]:
    """The webhook, as ``python -m deployments.events`` runs it."""
    command = [sys.executable, "-m", "deployments.events", "--port", str(port)]
    with running(command, folder / "events.log", {**env, "FINETUNE_EVENTS_KEY": CODE}):
        until("the webhook listens", lambda: answers(port))
        yield


def answers(port: int) -> bool:
    try:
        return httpx.options(address(port), trust_env=False).is_success
    except httpx.TransportError:
        return False


def address(port: int, code: str = CODE) -> str:
    return f"http://127.0.0.1:{port}/events?code={code}"


@pytest.fixture(scope="module")
def hook(tmp_path_factory: pytest.TempPathFactory) -> int:
    return free_port()


@pytest.fixture(scope="module")
def watched(hook: int, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    """A server with the automations, an emulator that sends its events, and the flow served."""
    folder = tmp_path_factory.mktemp("suspended")
    with (
        own_server(folder / "prefect", free_port(), UNKNOWN_RUN) as prefect,
        running_emulator(
            folder / "state", "--preload", "--event-webhook", address(hook)
        ) as emulator,
        listening(folder, hook, prefect),
    ):
        stage = Stage(emulator, {**emulator.env, **prefect, **QUICK}, folder)
        with stage.served("waiting"):
            install(stage)
            yield stage


def install(stage: Stage) -> None:
    """The automation that resumes; of the others only the names would matter here."""
    with stage.prefect() as client:
        deployment = client.read_deployment_by_name("fine-tune/waiting").id
        (one,) = [
            one
            for one in automations(DoNothing(), deployment, Limits())
            if one.name == "fine-tune: a suspended run's job ended"
        ]
        client.create_automation(one)


def suspended(**changes: Any) -> tuple[FineTune, str, str]:
    """A run that waits suspended, with the names of its job and endpoint.

    Its job trains without end, unless the changes say otherwise.
    """
    endlessly = endless(small("any")).parameters.model_dump()
    run = small(uuid.uuid4().hex, waiting="suspended", **{"parameters": endlessly, **changes})
    return run, *names(run)


def is_suspended(run: FlowRun) -> bool:
    return run.state is not None and run.state.name == "Suspended"


def test_a_suspended_run_goes_on_by_azures_event(watched: Stage) -> None:
    longer = {"num_train_epochs": 9, "other": {"max_steps": 400, "max_seq_length": 96}}
    run, job, endpoint = suspended(parameters=longer)  # trains while the run suspends itself
    started = watched.emulator.summary()["jobs_started"]

    flow_run = watched.trigger("waiting", run)
    state = watched.ended(flow_run)

    assert state.is_completed(), state
    assert "Suspended" in watched.states(flow_run)
    assert watched.job(job) == "Completed"
    assert endpoint not in watched.endpoints()
    assert watched.emulator.summary()["jobs_started"] == started + 1


def test_a_run_whose_job_fails_while_it_is_suspended_fails_with_the_jobs_words(
    watched: Stage,
) -> None:
    run, _, endpoint = suspended()
    watched.emulator.add_fault(
        kind="step_fails", step="chat_completion_finetune", message="the disk of the node is full"
    )

    flow_run = watched.trigger("waiting", run)
    state = watched.ended(flow_run)

    assert state.is_failed() and "the disk of the node is full" in str(state.message), state
    assert endpoint not in watched.endpoints()


@pytest.fixture(scope="module")
def long_one(watched: Stage) -> Iterator[tuple[UUID, str, str]]:
    """A suspended run whose job goes on and on; afterwards nothing of it is left."""
    run, job, endpoint = suspended()
    flow_run = watched.trigger("waiting", run)
    until("the run is suspended", lambda: is_suspended(watched.flow_run(flow_run)))
    yield flow_run, job, endpoint
    with watched.prefect() as client:
        client.set_flow_run_state(flow_run, Cancelled(), force=True)
    if watched.job(job) != "Canceled":
        with watched.here():
            reap()


def test_the_poller_leaves_a_run_alone_whose_job_goes_on(
    watched: Stage, long_one: tuple[UUID, str, str]
) -> None:
    flow_run, job, endpoint = long_one

    with watched.here():
        assert resume() == []
        kept = {one.found.name: one.remove for one in reap()}

    assert is_suspended(watched.flow_run(flow_run))
    assert kept[job] is False and kept[endpoint] is False


def test_run_completed_alone_wakes_a_run_and_one_whose_job_goes_on_is_suspended_again(
    watched: Stage, hook: int, long_one: tuple[UUID, str, str]
) -> None:
    flow_run, job, _ = long_one

    told = httpx.post(
        address(hook), json=[completed_event(job, str(flow_run))], trust_env=False
    ).json()
    assert told == {"told": 1}

    until("it is suspended again", lambda: watched.states(flow_run).count("Suspended") == 2)
    assert watched.job(job) == "Running"


def test_cancelling_a_suspended_run_leaves_its_job_and_endpoint_to_the_reaper(
    watched: Stage, long_one: tuple[UUID, str, str]
) -> None:
    flow_run, job, endpoint = long_one

    done = subprocess.run(
        [sys.executable, "-m", "prefect", "flow-run", "cancel", str(flow_run)],
        env={"PATH": "", **watched.env},
        check=True,
        timeout=60,
        capture_output=True,
    )

    assert done.returncode == 0
    assert watched.ended(flow_run).is_cancelled()
    with watched.here():
        reap()
    assert watched.job(job) == "Canceled"
    assert endpoint not in watched.endpoints()


def test_the_poller_wakes_a_run_at_its_deadline(watched: Stage) -> None:
    deadlines = small("any").deadlines.model_copy(update={"training_minutes": 0.3}).model_dump()
    run, job, endpoint = suspended(deadlines=deadlines)
    flow_run = watched.trigger("waiting", run)
    until("the run is suspended", lambda: is_suspended(watched.flow_run(flow_run)))

    wake = watched.flow_run(flow_run).state.state_details.pause_timeout - GRACE
    with watched.here():  # the server's clock counts, which is told in whole seconds
        until("its deadline has come", lambda: time_there() >= wake)
        assert len(resume()) == 1

    state = watched.ended(flow_run)
    assert state.is_failed() and DeadlineExceeded.__name__ in str(state.message), state
    assert watched.job(job) == "Canceled"
    assert endpoint not in watched.endpoints()


def test_a_run_without_a_deployment_cannot_be_suspended(
    azure_env: RunningEmulator, prefect_server: None
) -> None:
    before = azure_env.requests()[-1:]

    with pytest.raises(SettingsError, match="Trigger the deployment fine-tune/run"):
        fine_tune(small(uuid.uuid4().hex, waiting="suspended"))

    assert azure_env.requests()[-1:] == before


def status_event(job: str, flow_run: str, status: str = "Completed") -> dict[str, Any]:
    """What Event Grid posts, in its own schema."""
    key = job.removeprefix("fine-tune-")
    return {
        "id": uuid.uuid4().hex,
        "topic": "/subscriptions/s/resourceGroups/g/providers/x/workspaces/w",
        "eventType": "Microsoft.MachineLearningServices.RunStatusChanged",
        "data": {
            "runId": job,
            "runStatus": status,
            "runTags": {"finetune.flow-run-id": flow_run, "finetune.run-key": key},
        },
    }


def completed_event(job: str, flow_run: str) -> dict[str, Any]:
    """What Event Grid posts besides when a run has completed: no status, and RunTags like this."""
    event = status_event(job, flow_run)
    tags = event["data"].pop("runTags")
    del event["data"]["runStatus"]
    data = {**event["data"], "RunTags": tags}
    return {**event, "eventType": "Microsoft.MachineLearningServices.RunCompleted", "data": data}


def test_the_webhook_refuses_who_does_not_know_the_key(watched: Stage, hook: int) -> None:
    event = status_event("fine-tune-0123456789", str(uuid.uuid4()))

    for code in ("", "wrong", CODE.upper()):
        told = httpx.post(address(hook, code), json=[event], trust_env=False)
        asked = httpx.options(address(hook, code), trust_env=False)
        assert (told.status_code, asked.status_code) == (401, 401)


def test_the_webhook_shakes_hands_in_both_schemas(watched: Stage, hook: int) -> None:
    origin = {"WebHook-Request-Origin": "eventgrid.azure.net"}
    question = [
        {
            "id": "1",
            "eventType": "Microsoft.EventGrid.SubscriptionValidationEvent",
            "data": {"validationCode": "512d38b6"},
        }
    ]

    allowed = httpx.options(address(hook), headers=origin, trust_env=False)
    validated = httpx.post(address(hook), json=question, trust_env=False)

    assert allowed.headers["WebHook-Allowed-Origin"] == "eventgrid.azure.net"
    assert validated.json() == {"validationResponse": "512d38b6"}


@pytest.mark.parametrize(
    "body",
    [b"{", b"[1]", b'"text"', b"\xff", b"{}", b'{"data": 3}', b'[{"eventType": "x", "data": {}}]'],
)
def test_the_webhook_takes_nonsense_for_nothing(watched: Stage, hook: int, body: bytes) -> None:
    answer = httpx.post(address(hook), content=body, trust_env=False)

    assert answer.status_code == 400 or answer.json() == {"told": 0}


def test_the_webhook_tells_of_our_jobs_only(watched: Stage, hook: int) -> None:
    run = str(uuid.uuid4())
    ours = status_event("fine-tune-0123456789", run)
    step = status_event("fine-tune-0123456789", run)
    step["data"]["runId"] = "a-step-of-it"
    running_ = status_event("fine-tune-0123456789", run, "Running")
    untagged = status_event("fine-tune-0123456789", run)
    untagged["data"]["runTags"] = None
    foreign = status_event("fine-tune-0123456789", "no-uuid")
    completed = completed_event("fine-tune-0123456789", run)
    its_step = completed_event("a-step-of-it", run)
    small_letters = status_event("fine-tune-0123456789", run, "failed")

    answers = [
        httpx.post(address(hook), json=[one], trust_env=False).json()["told"]
        for one in (ours, completed, small_letters, step, running_, untagged, foreign, its_step)
    ]

    assert answers == [1, 1, 1, 0, 0, 0, 0, 0]


def test_the_webhook_does_not_start_without_a_key() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "deployments.events"],
        cwd=ROOT,
        env={**os.environ, "FINETUNE_EVENTS_KEY": "short"},
        capture_output=True,
        text=True,
        timeout=60,
    )

    assert done.returncode == 2
    assert done.stderr.startswith("Set FINETUNE_EVENTS_KEY to at least 16 characters")
