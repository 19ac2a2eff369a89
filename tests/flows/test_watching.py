"""What somebody sees who looks at a run while its job trains, and afterwards."""

from __future__ import annotations

import io
import logging
import uuid
from collections.abc import Iterator
from typing import Any

import pytest
from prefect import flow
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import (
    ArtifactFilter,
    ArtifactFilterFlowRunId,
    ArtifactFilterKey,
)
from prefect.client.schemas.objects import Artifact, FlowRun
from prefect.logging.handlers import PrefectConsoleHandler
from prefect.settings import PREFECT_API_URL, temporary_settings
from rich.console import Console

from deployments.local_stack import free_port
from finetuning.azure.run_history import get_steps
from finetuning.azure.settings import load_settings
from finetuning.errors import TrainingHopeless
from finetuning.form.results import SubmittedJob
from finetuning.form.run import FineTune
from finetuning.training.curve import Curve
from finetuning.training.report import Seen, StepState
from flows.fine_tune import fine_tune
from tasks.watching import BAR, PAGE, Display, Watched, lookout, show_from_afar
from tests.conftest import RunningEmulator, environment
from tests.support.plans import plan_of
from tests.support.runs import endless, names, small

pytestmark = pytest.mark.slow


def run_of(run: FineTune) -> FlowRun:
    with get_client(sync_client=True) as client:
        found = client.read_flow_runs(limit=50)
    return next(one for one in found if one.parameters.get("run", {}).get("key") == run.key)


def artifacts(flow_run_id: Any, key: str) -> list[Artifact]:
    of_this_run = ArtifactFilter(
        flow_run_id=ArtifactFilterFlowRunId(any_=[flow_run_id]), key=ArtifactFilterKey(any_=[key])
    )
    with get_client(sync_client=True) as client:
        return client.read_artifacts(artifact_filter=of_this_run)


@pytest.fixture(scope="module")
def watched(
    shared_emulator: RunningEmulator, prefect_server: None
) -> Iterator[tuple[FineTune, FlowRun, list[str]]]:
    """A run that completed though its metrics were refused at one look, and what its log said."""
    shared_emulator.clear_faults()
    run = small(uuid.uuid4().hex)
    shared_emulator.add_fault(kind="status", status=403, path="/mlflow/.*/runs/get", times=1)
    kept = Kept()
    logger = logging.getLogger("prefect.task_runs")
    logger.addHandler(kept)
    try:
        with environment(shared_emulator.env):
            fine_tune(run)
            yield run, run_of(run), kept.lines
    finally:
        logger.removeHandler(kept)


class Kept(logging.Handler):
    def __init__(self) -> None:
        super().__init__()
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(record.getMessage())


def test_one_artifact_lives_and_holds_curve_numbers_and_steps(
    watched: tuple[FineTune, FlowRun, list[str]],
) -> None:
    run, flow_run, _ = watched

    (page,) = artifacts(flow_run.id, PAGE)

    text = str(page.data)
    assert "](data:image/png;base64," in text
    assert names(run).job in text
    assert "| step | 6 of 6 |" in text
    for said in ("training loss", "evaluation loss", "learning rate", "rows a second", "spent"):
        assert f"| {said} |" in text
    assert "| chat_completion_finetune | Completed |" in text


def test_the_progress_bar_is_the_trainings_and_ends_full(
    watched: tuple[FineTune, FlowRun, list[str]],
) -> None:
    _, flow_run, _ = watched

    (bar,) = artifacts(flow_run.id, BAR)

    assert bar.data == 100.0
    assert "step 6 of 6" in str(bar.description)


def test_the_log_says_each_thing_once_and_a_refused_metric_ended_no_wait(
    watched: tuple[FineTune, FlowRun, list[str]],
) -> None:
    run, _, lines = watched
    said = [line for line in lines if line.startswith(f"job {names(run).job}: ")]

    assert len(said) == len(set(said)) > 2
    assert any("chat_completion_finetune Running" in line for line in said)
    assert sum("the curve is not read" in line for line in lines) == 1


def watched_anew(run: FineTune, flow_run: FlowRun) -> Watched:
    job = SubmittedJob(name=names(run).job, status="", studio_url="", adopted=True)
    return Watched(job, plan_of(run, parameters=dict(run.parameters.chosen())), str(flow_run.id))


def test_the_poller_writes_the_same_artifact_and_only_where_something_changed(
    watched: tuple[FineTune, FlowRun, list[str]],
) -> None:
    run, flow_run, _ = watched
    other = FlowRun.model_validate(flow_run.model_dump())
    steps = get_steps(load_settings(), names(run).job)

    @flow
    def polling() -> list[bool]:
        again = watched_anew(run, other)
        return [show_from_afar(load_settings(), again, steps) for _ in range(2)]

    assert polling() == [False, False]  # the wait itself has shown how it ended
    assert len(artifacts(flow_run.id, PAGE)) == 1


def test_what_prefect_does_not_take_is_said_and_ends_nothing(
    watched: tuple[FineTune, FlowRun, list[str]],
) -> None:
    run, flow_run, _ = watched
    nobody = f"http://127.0.0.1:{free_port()}/api"

    @flow
    def looking() -> int:
        with lookout(load_settings(), watched_anew(run, flow_run)) as progress:
            with temporary_settings({PREFECT_API_URL: nobody}):
                assert progress.look() == []
            return progress.reader.curve.step

    assert looking() == 6


def test_a_training_that_leads_nowhere_is_cancelled_and_the_run_says_its_last_values(
    stage: RunningEmulator,
) -> None:
    run = endless(
        small(
            uuid.uuid4().hex,
            stop_when=["no_improvement"],
            hopeless={"stalled_share": 0.0002},  # of 100,000 steps
        )
    )
    parameters = run.parameters.model_copy(update={"learning_rate": 1e-12})

    state = fine_tune(run.model_copy(update={"parameters": parameters}), return_state=True)

    assert state.is_failed()
    with pytest.raises(TrainingHopeless, match=r"evaluation loss has not fallen .* Last values"):
        state.result()
    jobs = {one["name"]: one["status"] for one in stage.summary()["jobs"]}
    assert jobs[names(run).job] == "Canceled"
    assert stage.summary()["endpoints"] == []


def test_a_job_without_a_run_history_is_queued(watched: object) -> None:
    run = small(uuid.uuid4().hex)

    @flow
    def looking() -> Any:
        here = watched_anew(run, run_of(watched[0]))  # type: ignore[index]
        with lookout(load_settings(), here) as progress:
            return progress.reader.read()

    assert looking() == Seen((), Curve(asked=looking().curve.asked))


def test_where_somebody_sits_before_a_terminal_a_bar_is_drawn(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    written = io.StringIO()
    handler = PrefectConsoleHandler(stream=written)
    handler.console = Console(file=written, force_terminal=True, width=120)
    monkeypatch.setattr(logging.getLogger("prefect"), "handlers", [handler])
    run = small(uuid.uuid4().hex)
    display = Display(
        Watched(
            SubmittedJob(name="job", status="", studio_url="", adopted=False),
            plan_of(run),
            str(uuid.uuid4()),
        )
    )
    seen = Seen((StepState("train", "Running"),), Curve())

    display._line.show(seen, "step 3 of 6")
    display._line.stop()

    assert "step 3 of 6" in written.getvalue()
