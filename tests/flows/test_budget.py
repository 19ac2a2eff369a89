"""What a run may spend while it goes on, with a real job and prices that make seconds dear; and the
whole look at its prepared data before that."""

from __future__ import annotations

import json
import uuid
from pathlib import Path

import pytest
from prefect import flow

from finetuning.azure import naming, ownership
from finetuning.azure.client import open_client
from finetuning.azure.ownership import Ownership
from finetuning.azure.settings import Settings, load_settings
from finetuning.errors import BudgetExceeded, PlanRefused
from finetuning.form.data import DataChoice, PreparedData, PreparedFile
from finetuning.form.run import FineTune
from finetuning.planning.findings import Finding
from finetuning.planning.spending import Actual
from flows.plan import settle_plan
from tasks.budget import Spending, report_costs
from tasks.compute import ensure_compute
from tasks.data import check_prepared_data
from tasks.deployment import deploy_model
from tasks.training import cancel_training, submit_training, wait_for_training
from tests.conftest import RunningEmulator
from tests.support.runs import endless, small

pytestmark = pytest.mark.slow

#: Training is estimated at nothing and costs a thousand dollars a second.
DEAR = """
overhead_hours = 0
endpoint_hours = 0
[sizes.Standard_ND40rs_v2]
per_hour = 3.6e6
tokens_per_second = 1e12
"""


@flow
def train(run: FineTune, file: Path) -> Actual:
    """Plan, submit and wait as the whole flow does, without an endpoint."""
    settings = load_settings()
    key = naming.run_key("", run.key)
    owner = Ownership(flow_run_id="test", key=key, tags={ownership.KEY_TAG: key})
    plan = settle_plan(settings, run, owner)
    cluster = ensure_compute(settings, run.compute, plan.finetune_sizes, owner, run.deadlines)
    data = upload(settings, file)
    job = submit_training(
        settings, plan.job, plan.display_name, plan.experiment, plan.component, plan.model,
        cluster, run.compute.steps, plan.gpus_per_node, data, data, plan.parameters, owner,
    )  # fmt: skip
    spending = Spending(settings, plan, run.compute.steps)
    try:
        wait_for_training(settings, job, run.deadlines, spending)
    finally:
        cancel_training(settings, plan.job)
    return report_costs(spending)


def upload(settings: Settings, file: Path) -> str:
    from azure.ai.ml.entities import Data

    made = Data(name="budget-rows", version=uuid.uuid4().hex[:16], type="uri_file", path=str(file))
    return str(open_client(settings).data.create_or_update(made).id)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    rows = [
        {
            "prompt": f"What is {number} and one?",
            "messages": [
                {"role": "user", "content": f"What is {number} and one?"},
                {"role": "assistant", "content": f"It is {number + 1}."},
            ],
            "prompt_id": str(number),
        }
        for number in range(16)
    ]
    place = tmp_path / "rows.jsonl"
    place.write_text("\n".join(json.dumps(row) for row in rows) + "\n")
    return place


@pytest.fixture
def dear(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    prices = tmp_path / "dear.toml"
    prices.write_text(DEAR)
    monkeypatch.setenv("FINETUNE_PRICES", str(prices))


def test_spending_beyond_the_budget_ends_the_wait(
    stage: RunningEmulator, dear: None, file: Path
) -> None:
    run = endless(small(uuid.uuid4().hex, budget=500.0))

    with pytest.raises(BudgetExceeded, match=r"of a budget of 500\.00 while training"):
        train(run, file)


def test_no_deployment_is_begun_once_the_budget_is_spent(stage: RunningEmulator) -> None:
    run = small(uuid.uuid4().hex)
    endpoint = naming.endpoint_name(naming.run_key("", run.key), None)
    before = stage.requests()[-1]["index"] if stage.requests() else 0

    with pytest.raises(BudgetExceeded):
        deploy(run, endpoint)

    asked = stage.requests(after=before)
    assert [one["path"] for one in asked if one["method"] in ("PUT", "POST", "PATCH")] == []


@flow
def deploy(run: FineTune, endpoint: str) -> None:
    def spent() -> None:
        raise BudgetExceeded(2.0, 1.0, "USD", "serving")

    owner = Ownership(flow_run_id="test", key=naming.run_key("", run.key), tags={})
    settings = load_settings()
    deploy_model(settings, endpoint, run.endpoint, "m:1", owner, run.deadlines, spent)


def test_actual_node_hours_are_reported_from_the_jobs_own_times(
    stage: RunningEmulator, dear: None, file: Path
) -> None:
    run = small(uuid.uuid4().hex, budget=1e9)

    found = train(run, file)

    steps = [line.what for line in found.of("training")]
    assert len(steps) == 5 and "training: chat_completion_finetune" in steps
    assert all(line.node_hours > 0 for line in found.lines)
    assert found.total > 500
    assert found.estimate is not None and found.estimate.total < 1


def test_prepared_data_with_broken_rows_is_refused_before_the_job(
    stage: RunningEmulator, file: Path
) -> None:
    broken = file.read_text().replace('"role": "assistant"', '"role": "robot"', 3)
    file.write_text(broken)
    started = stage.summary()["jobs_started"]

    with pytest.raises(PlanRefused, match=r"row 1: field 'messages\[1\]\.role'"):
        check(small(uuid.uuid4().hex), prepared(file))

    assert stage.summary()["jobs_started"] == started


def test_good_prepared_data_is_looked_at_whole(stage: RunningEmulator, file: Path) -> None:
    found = check(small(uuid.uuid4().hex), prepared(file))

    assert any("16 rows, of which all were looked at" in one.what for one in found)


@flow
def check(run: FineTune, data: PreparedData) -> list[Finding]:
    owner = Ownership(flow_run_id="test", key=naming.run_key("", run.key), tags={})
    return check_prepared_data(data, settle_plan(load_settings(), run, owner))


def prepared(file: Path) -> PreparedData:
    rows = len(file.read_text().splitlines())
    made = PreparedFile(path=str(file), rows=rows, bytes=file.stat().st_size, sha256="")
    return PreparedData(
        dataset="a/test",
        commit="",
        version="1",
        manifest="",
        choice=DataChoice(),
        files={"train_sft": made, "test_sft": made},
    )
