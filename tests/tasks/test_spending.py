"""The meter against the emulator: pages of steps, a history without them, an earlier deployment."""

from __future__ import annotations

import math
import uuid
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from azure.core.exceptions import HttpResponseError
from prefect.logging import disable_run_logger

from finetuning.azure import naming
from finetuning.azure.client import open_client
from finetuning.azure.credentials import find_credential
from finetuning.azure.ownership import Ownership
from finetuning.azure.run_history import get_steps
from finetuning.azure.settings import Settings, load_settings
from finetuning.errors import BudgetExceeded
from finetuning.form.context import RunContext
from finetuning.form.data import PreparedFile
from finetuning.form.results import Foundation
from finetuning.form.run import FineTune
from finetuning.planning.plan import ComputePlan, JobPlan, Plan, Registration, Serving
from finetuning.planning.prices import Nodes, load_prices
from tasks.budget import WHOLE_JOB, Spending
from tests.conftest import RunningEmulator, environment, running_emulator

WEEK_S = 7 * 24 * 3600.0


@pytest.fixture(scope="module")
def paged(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningEmulator]:
    """An emulator whose run history answers two runs a page."""
    state = tmp_path_factory.mktemp("paged") / "state"
    with running_emulator(state, "--history-page", "2") as found, environment(found.env):
        find_credential.cache_clear()
        yield found
        find_credential.cache_clear()


@pytest.fixture
def here(paged: RunningEmulator) -> Iterator[RunningEmulator]:
    paged.clear_faults()
    with disable_run_logger():
        yield paged
    paged.clear_faults()


@pytest.fixture(scope="module")
def job(paged: RunningEmulator, tmp_path_factory: pytest.TempPathFactory) -> str:
    """A pipeline job that failed at its first step, for want of data; its steps are known."""
    name = f"metered-{uuid.uuid4().hex[:8]}"
    fail(paged, name, tmp_path_factory.mktemp("rows"))
    return name


def fail(emulator: RunningEmulator, name: str, folder: Path) -> None:
    """Have a pipeline job of this name fail at its first step."""
    from azure.ai.ml import Input
    from azure.ai.ml.dsl import pipeline

    from finetuning.azure.client import open_registry

    settings = load_settings()
    rows = folder / "rows.jsonl"
    rows.write_text('{"messages": []}\n')
    model = "azureml://registries/azureml/models/Phi-4/versions/8"
    component: Any = open_registry(settings).components.get(
        "chat_completion_pipeline", label="latest"
    )

    @pipeline
    def one() -> dict[str, Any]:
        file = Input(type="uri_file", path=str(rows))
        step = component(mlflow_model_path=model, train_file_path=file, test_file_path=file)
        return {"trained_model": step.outputs.mlflow_model_folder}

    new: Any = one()
    new.name = name
    emulator.add_fault(kind="step_fails", step="ft_nlp_common_validation", message="no")
    open_client(settings).jobs.create_or_update(new, experiment_name="metered")
    wait_for_the_end(settings, name)


def wait_for_the_end(settings: Settings, name: str) -> None:
    from azure.ai.ml.exceptions import JobException

    with pytest.raises(JobException):  # the SDK's own wait, which says that the job failed
        open_client(settings).jobs.stream(name)


def plan_of(
    job: str, *, endpoint: str = "none", budget: float | None = None, default: bool = False
) -> Plan:
    run = FineTune()
    nodes = Nodes(size="Standard_ND40rs_v2", count=2)
    return Plan(
        recipe=run.recipe, data=run.data, test=run.test, waiting=run.waiting, estimate=None,
        budget=budget, default_budget=default,
        compute=ComputePlan(choice=run.compute, allowed=None),
        registration=Registration(name="m", version=naming.model_version("k")),
        serving=Serving(
            endpoint=endpoint, choice=run.endpoint, nodes=Nodes(size="Standard_NC4as_T4_v3")
        ),
        job=JobPlan(
            name=job, display_name="d", experiment="metered", component="0.0.82",
            model=Foundation(name="m", version="1", id="m"), parameters={}, nodes=nodes,
            gpus_per_node=8, rows_per_step=1, asked={},
        ),
    )  # fmt: skip


def later(job: str, settings: Settings, seconds: float) -> float:
    created = open_client(settings).jobs.get(job).creation_context.created_at
    return float((created + timedelta(seconds=seconds)).timestamp())


def test_steps_beyond_the_first_page_are_read(here: RunningEmulator, job: str) -> None:
    before = here.requests()[-1]["index"]

    steps = get_steps(load_settings(), job)

    pages = [one for one in here.requests(after=before) if one["path"].endswith("/children")]
    assert len(pages) == 3
    assert len({step.name for step in steps}) == 5


def test_known_steps_are_metered_and_nothing_else(here: RunningEmulator, job: str) -> None:
    spending = Spending(load_settings(), plan_of(job))

    spending.refresh()

    lines = spending.meter.lines(spending.now())
    assert [line.what for line in lines] == ["training: ft_nlp_common_validation"]


def test_a_history_without_steps_counts_the_jobs_own_time_on_all_nodes(
    here: RunningEmulator, job: str
) -> None:
    here.add_fault(kind="status", method="GET", path="/(children|details)$", status=404, times=0)
    settings = load_settings()
    spending = Spending(settings, plan_of(job), now=lambda: later(job, settings, 3600))

    spending.refresh()

    (line,) = spending.meter.lines(later(job, settings, 3600))
    assert line.what == WHOLE_JOB
    assert line.node_hours == pytest.approx(2)  # two nodes, one hour


def test_a_job_without_steps_is_counted_until_the_history_says_that_it_ended(
    here: RunningEmulator, job: str
) -> None:
    here.add_fault(kind="status", method="GET", path="/children", status=404, times=0)
    settings = load_settings()
    spending = Spending(settings, plan_of(job), now=lambda: later(job, settings, WEEK_S))

    spending.refresh()

    (line,) = spending.meter.lines(later(job, settings, WEEK_S))
    assert 0 < line.node_hours < 2 * WEEK_S / 3600


def test_what_earlier_attempts_cost_is_spent_too(here: RunningEmulator, tmp_path: Path) -> None:
    first = naming.job_name(naming.run_key(uuid.uuid4().hex))
    second = naming.next_attempt(first)
    for name in (first, second):
        fail(here, name, tmp_path)
    spending = Spending(load_settings(), plan_of(first))

    spending.refresh()
    before = here.requests()[-1]["index"]
    spending.refresh()

    lines = spending.meter.lines(spending.now())
    step = "training: ft_nlp_common_validation"
    assert [line.what for line in lines] == [step, f"{step}, attempt 2"]
    assert all(line.node_hours > 0 for line in lines)
    again = [one["path"] for one in here.requests(after=before) if "/runs/" in one["path"]]
    assert again and all(second in path for path in again)  # the first has ended


def test_the_budget_ends_a_run_that_the_history_does_not_know(
    here: RunningEmulator, job: str
) -> None:
    here.add_fault(kind="status", method="GET", path="/(children|details)$", status=404, times=0)
    settings = load_settings()
    spending = Spending(
        settings, plan_of(job, budget=1.0), now=lambda: later(job, settings, WEEK_S)
    )

    with pytest.raises(BudgetExceeded, match="training"):
        spending()


def refuse_history(here: RunningEmulator) -> None:
    here.add_fault(kind="status", method="GET", path="/(children|details)$", status=403, times=0)


def test_a_budget_that_was_chosen_ends_a_run_whose_history_is_refused(
    here: RunningEmulator, job: str
) -> None:
    refuse_history(here)

    with pytest.raises(HttpResponseError):
        Spending(load_settings(), plan_of(job, budget=1e9))()


def test_a_default_budget_does_not_end_a_run_whose_history_is_refused(
    here: RunningEmulator, job: str
) -> None:
    refuse_history(here)
    settings = load_settings()
    now = later(job, settings, 3600)
    spending = Spending(settings, plan_of(job, budget=1e9, default=True), now=lambda: now)

    spending()

    (line,) = spending.meter.lines(now)
    assert (line.what, line.node_hours) == (WHOLE_JOB, pytest.approx(2))


def test_a_default_budget_is_held_though_the_history_is_refused(
    here: RunningEmulator, job: str
) -> None:
    refuse_history(here)
    settings = load_settings()
    plan = plan_of(job, budget=1.0, default=True)
    spending = Spending(settings, plan, now=lambda: later(job, settings, WEEK_S))

    with pytest.raises(BudgetExceeded, match="training"):
        spending()


def test_a_history_that_is_refused_later_leaves_the_steps_that_are_known(
    here: RunningEmulator, job: str
) -> None:
    spending = Spending(load_settings(), plan_of(job, budget=1e9, default=True))
    spending()
    refuse_history(here)

    spending()

    lines = spending.meter.lines(spending.now())
    assert [line.what for line in lines] == ["training: ft_nlp_common_validation"]


def test_once_the_steps_are_known_they_replace_the_jobs_own_time(
    here: RunningEmulator, job: str
) -> None:
    here.add_fault(kind="status", method="GET", path="/children", status=404, times=1)
    settings = load_settings()
    spending = Spending(settings, plan_of(job), now=lambda: later(job, settings, 3600))

    spending.refresh()
    spending.refresh()

    lines = spending.meter.lines(spending.now())
    assert [line.what for line in lines] == ["training: ft_nlp_common_validation"]


def test_a_job_that_is_not_there_has_cost_nothing(here: RunningEmulator) -> None:
    spending = Spending(load_settings(), plan_of("no-such-job", budget=1.0))

    spending()

    assert spending.meter.lines(spending.now()) == []
    assert math.isfinite(spending.seconds_left())


@pytest.fixture
def deployed(here: RunningEmulator, tmp_path: Path) -> Iterator[str]:
    """An endpoint with a deployment that an earlier process made; it failed, and is there."""
    from azure.ai.ml.entities import ManagedOnlineDeployment, ManagedOnlineEndpoint, Model
    from azure.core.exceptions import HttpResponseError

    client, name = open_client(load_settings()), f"metered-{uuid.uuid4().hex[:8]}"
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "MLmodel").write_text("flavors: {}\n")
    model = client.models.create_or_update(
        Model(name=name, version="1", path=str(tmp_path / "model"), type="mlflow_model")
    )
    client.online_endpoints.begin_create_or_update(ManagedOnlineEndpoint(name=name)).result()
    here.add_fault(kind="deployment_fails", message="no")
    deployment = ManagedOnlineDeployment(
        name="demo", endpoint_name=name, model=model.id, instance_type="Standard_NC4as_T4_v3",
        instance_count=1,
    )  # fmt: skip
    with pytest.raises(HttpResponseError):
        client.online_deployments.begin_create_or_update(deployment).result()
    yield name
    client.online_endpoints.begin_delete(name).wait()


def test_a_restarted_process_counts_from_the_deployments_creation(
    here: RunningEmulator, job: str, deployed: str
) -> None:
    settings = load_settings()
    found = open_client(settings).online_deployments.get("demo", deployed)
    created = found.creation_context.created_at.timestamp()
    restarted = Spending(settings, plan_of(job, endpoint=deployed), now=lambda: created + 7200)

    restarted.serving_began()
    restarted()

    (line,) = [one for one in restarted.meter.lines(created + 7200) if one.what == "endpoint"]
    assert line.node_hours == pytest.approx(2, rel=1e-3)


def test_the_budget_counts_what_the_endpoint_cost_before_the_restart(
    here: RunningEmulator, job: str, deployed: str
) -> None:
    settings = load_settings()
    found = open_client(settings).online_deployments.get("demo", deployed)
    created = found.creation_context.created_at.timestamp()
    price = load_prices().per_hour("Standard_NC4as_T4_v3") or 0.0
    plan = plan_of(job, endpoint=deployed, budget=price * 24)
    restarted = Spending(settings, plan, now=lambda: created + WEEK_S)

    restarted.serving_began()

    with pytest.raises(BudgetExceeded, match="serving"):
        restarted()


def test_the_budget_ends_the_test_before_the_next_question(
    here: RunningEmulator, tmp_path: Path
) -> None:
    from tasks.scoring import test_endpoint as ask

    rows = tmp_path / "rows.jsonl"
    rows.write_text('{"messages": [{"role": "user", "content": "q"}]}\n')

    def spent() -> None:
        raise BudgetExceeded(2.0, 1.0, "USD", "serving")

    owner = Ownership(flow_run_id="test", key="k", tags={})
    context = RunContext(settings=load_settings(), owner=owner, deadlines=FineTune().deadlines)
    before = here.requests()[-1]["index"]
    with pytest.raises(BudgetExceeded):
        ask.fn(context, plan_of("j"), "demo", _prepared(rows), spent)
    assert [one for one in here.requests(after=before) if one["path"] == "/score"] == []


def _prepared(rows: Path) -> PreparedFile:
    return PreparedFile(path=str(rows), rows=1, bytes=rows.stat().st_size, sha256="0" * 64)
