"""Promotions and approvals on a server: killed in any phase, answered, refused, not answered.

One server and one emulator for all of it.
"""

from __future__ import annotations

import signal
import subprocess
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from prefect.client.schemas.responses import SetStateStatus
from prefect.states import Crashed

from finetuning.azure.client import open_client
from finetuning.azure.settings import load_settings
from finetuning.errors import SettingsError
from finetuning.form.promote import Promote
from finetuning.form.run import FineTune
from flows.fine_tune import fine_tune
from flows.promote import promote
from flows.reap import reap
from flows.resume import resume
from tests.conftest import RunningEmulator
from tests.support import canned
from tests.support.runs import names, small
from tests.support.shop import Shop
from tests.support.stage import Stage, flow_processes, kill, stage
from tests.support.waiting import until

pytestmark = pytest.mark.slow
#: Long enough that a step is seen from outside.
DWELL = {"dwell_minutes": 0.05}


@pytest.fixture(scope="module")
def theatre(
    shared_emulator: RunningEmulator, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Stage]:
    with stage(shared_emulator, tmp_path_factory.mktemp("killed")) as found:
        yield found


@pytest.fixture(scope="module")
def runner(theatre: Stage) -> Iterator[subprocess.Popen[bytes]]:
    with theatre.served("killed", "promote") as found:
        yield found


@pytest.fixture
def shop(theatre: Stage, tmp_path: Path) -> Iterator[Shop]:
    """A product endpoint whose version 1 serves, and a version 2 to be promoted."""
    with theatre.here():
        found = Shop(load_settings(), tmp_path)
        found.promoted("1", {})
        canned.register(found.settings, found.name, "2")
        yield found
        open_client(found.settings).online_endpoints.begin_delete(found.name).wait()


def is_deploying(shop: Shop) -> bool:
    return bool(shop.product.candidate)


def has_ten(shop: Shop) -> bool:
    return shop.traffic.get("green") == 10


def has_all(shop: Shop) -> bool:
    return shop.traffic == {"green": 100} and shop.product.serving == "blue"


def trigger(theatre: Stage, promotion: Promote) -> UUID:
    with theatre.prefect() as client:
        deployment = client.read_deployment_by_name("promote/killed")
        parameters = {"promotion": promotion.model_dump(mode="json")}
        return client.create_flow_run_from_deployment(deployment.id, parameters=parameters).id


@pytest.mark.parametrize("phase", [is_deploying, has_ten, has_all])
def test_one_that_is_killed_is_taken_up_and_comes_through(
    theatre: Stage, runner: subprocess.Popen[bytes], shop: Shop, phase: Callable[[Shop], bool]
) -> None:
    run = trigger(theatre, shop.promotion("2", **DWELL))
    until(phase.__name__, lambda: phase(shop))
    for process in flow_processes(runner):
        kill(process, signal.SIGKILL)
    until("it is taken up and completes", lambda: theatre.states(run)[-1:] == ["Completed"])

    assert theatre.states(run).count("Running") == 2
    assert shop.all_is_on("2")
    assert shop.deployments == {"blue": "1", "green": "2"}


@pytest.mark.parametrize("phase", [is_deploying, has_ten, has_all])
def test_one_that_nobody_watches_is_put_back_by_the_reaper(
    theatre: Stage, shop: Shop, phase: Callable[[Shop], bool]
) -> None:
    parameters = theatre.folder / f"{shop.name}.json"
    parameters.write_text(shop.promotion("2", **DWELL).model_dump_json())
    with theatre.program("promote", str(parameters)) as process:
        until(phase.__name__, lambda: phase(shop))
        process.kill()
        process.wait()
    bury(theatre, shop.endpoint.tags["finetune.flow-run-id"])

    decisions = {one.found.name: one for one in reap()}

    assert not decisions[shop.name].remove and "serves" in decisions[shop.name].why
    assert shop.all_is_on("1") and shop.deployments == {"blue": "1"}
    assert promote(shop.promotion("2")).outcome == "promoted"  # nothing stands in the way
    assert shop.all_is_on("2")


def asking(**changes: Any) -> FineTune:
    return small(uuid.uuid4().hex, **{"approve": ["spend"], **changes})


def asks(theatre: Stage, run: UUID) -> bool:
    state = theatre.flow_run(run).state
    assert state is None or not state.is_final(), state
    return state is not None and state.name == "Suspended"


def answer(theatre: Stage, run: UUID, **given: Any) -> SetStateStatus:
    with theatre.prefect() as client:
        return client.resume_flow_run(run, run_input=given or None).status


def test_a_run_that_asks_spends_nothing_until_it_is_approved(theatre: Stage) -> None:
    run = asking()
    job, endpoint = names(run)
    with theatre.served("asking"):
        first = theatre.trigger("asking", run)
        until("it asks", lambda: asks(theatre, first))
        before = theatre.job(job), endpoint in theatre.endpoints()
        unsaid = answer(theatre, first)
        wrong = answer(theatre, first, decision="perhaps")
        still = asks(theatre, first)
        said = answer(theatre, first, decision="approve", reason="go on", budget=150)
        state = theatre.ended(first)

    assert before == (None, False)
    assert (unsaid, wrong, still) == (SetStateStatus.REJECT, SetStateStatus.REJECT, True)
    assert said == SetStateStatus.ACCEPT
    assert state.is_completed(), state
    assert theatre.job(job) == "Completed" and endpoint not in theatre.endpoints()


def test_a_run_that_is_refused_or_not_answered_ends_with_the_reason_and_made_nothing(
    theatre: Stage,
) -> None:
    refused, late = asking(), asking(approve_hours=1e-6)
    with theatre.served("refusing"):
        first, second = (theatre.trigger("refusing", one) for one in (refused, late))
        for one in (first, second):
            until("it asks", lambda one=one: asks(theatre, one))
        answer(theatre, first, decision="refuse", reason="too dear")
        with theatre.here():
            resume()
        states = [theatre.ended(one) for one in (first, second)]

    assert all(one.is_failed() for one in states), states
    assert "too dear" in str(states[0].message)
    assert "nobody answered in time" in str(states[1].message)
    for one in (refused, late):
        job, endpoint = names(one)
        assert theatre.job(job) is None and endpoint not in theatre.endpoints()


def test_a_run_without_a_deployment_cannot_ask(theatre: Stage) -> None:
    with theatre.here(), pytest.raises(SettingsError, match="asks for approval"):
        fine_tune(asking())


def bury(theatre: Stage, flow_run_id: str) -> None:
    """Say of a run what the server says once its heartbeats have stopped."""
    with theatre.prefect() as client:
        client.set_flow_run_state(UUID(flow_run_id), Crashed(), force=True)
