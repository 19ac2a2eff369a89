"""A run's key stands for its parameters: others are refused, and nothing is created."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import Any

import pytest
from prefect import flow
from prefect.logging import disable_run_logger

from finetuning.azure.client import open_client
from finetuning.azure.naming import job_name, run_key
from finetuning.azure.ownership import Ownership, ownership_tags
from finetuning.azure.settings import Settings, load_settings
from finetuning.errors import KeyTaken, PlanRefused
from finetuning.form.context import RunContext
from finetuning.form.key import ASKED, asked_tags, differences
from finetuning.form.results import SubmittedJob
from finetuning.form.run import FineTune
from finetuning.planning.findings import Finding
from finetuning.planning.plan import Plan
from flows.fine_tune import fine_tune
from tasks.plan import ask_gates
from tasks.training import check_key, submit_training
from tests.conftest import RunningEmulator, environment


def data_asset(settings: Settings) -> str:
    """The id of one conversation in the workspace: a job whose data is missing fails at once."""
    from azure.ai.ml.entities import Data

    row = {"messages": [{"role": "user", "content": "A?"}, {"role": "assistant", "content": "B."}]}
    with NamedTemporaryFile("w", suffix=".jsonl") as file:
        file.write(json.dumps(row) + "\n")
        file.flush()
        data = Data(
            name="one-conversation", version=uuid.uuid4().hex[:12], type="uri_file", path=file.name
        )
        return str(open_client(settings).data.create_or_update(data).id)


def form(key: str, **changes: Any) -> FineTune:
    return FineTune.model_validate({"key": key, **changes})


def planned(settings: Settings, run: FineTune) -> Plan:
    with disable_run_logger(), ThreadPoolExecutor() as pool:
        report = ask_gates(
            settings, run, run_key("", run.key), lambda gate, *given: pool.submit(gate.fn, *given)
        )
    assert report.plan is not None, report.findings
    return report.plan


def gate(settings: Settings, run: FineTune) -> list[Finding]:
    return list(check_key.fn(settings, run, run_key("", run.key)))


@flow
def submitting(settings: Settings, run: FineTune, plan: Plan, cluster: str) -> SubmittedJob:
    key, now = run_key("", run.key), datetime.now(UTC)
    tags = ownership_tags("fine-tune", "test", key, now, timedelta(hours=1))
    owner = Ownership(flow_run_id="test", key=key, tags=tags)
    context = RunContext(settings=settings, owner=owner, deadlines=run.deadlines)
    file = data_asset(settings)
    return submit_training(context, plan, cluster, {"train_sft": file, "test_sft": file})


@pytest.fixture(scope="module")
def settings(shared_emulator: RunningEmulator, prefect_server: None) -> Iterator[Settings]:
    with environment(shared_emulator.env):
        yield load_settings()


@pytest.fixture(scope="module")
def queued(settings: Settings, tmp_path_factory: pytest.TempPathFactory) -> Iterator[FineTune]:
    """A run whose job waits for ever, on a cluster of no nodes."""
    from azure.ai.ml.entities import AmlCompute

    client, cluster = open_client(settings), f"empty-x{uuid.uuid4().hex[:7]}"
    made = AmlCompute(name=cluster, size="Standard_ND40rs_v2", tier="dedicated", max_instances=0)
    client.compute.begin_create_or_update(made).wait()
    run = form(uuid.uuid4().hex, parameters={"num_train_epochs": 2})
    folder = str(tmp_path_factory.mktemp("results"))
    with environment({"PREFECT_LOCAL_STORAGE_PATH": folder}):
        submitting(settings, run, planned(settings, run), cluster)
        yield run
    client.jobs.begin_cancel(job_name(run_key("", run.key))).wait()


def test_the_job_says_what_it_was_made_from(settings: Settings, queued: FineTune) -> None:
    job = open_client(settings).jobs.get(job_name(run_key("", queued.key)))

    assert job.tags is not None
    assert asked_tags(queued).items() <= job.tags.items()
    assert "Phi-3-mini-4k-instruct" in job.tags["finetune.settled.model"]
    assert all(len(value) <= 256 for value in job.tags.values())


@pytest.mark.parametrize(
    "changes, field, how",
    [
        ({"parameters": {"num_train_epochs": 3}}, "run.parameters.num_train_epochs", "2 then, 3"),
        ({"parameters": {}}, "run.parameters.num_train_epochs", "2 then, empty now"),
        ({"data": {"percentage": 7}}, "run.data.percentage", "5.0 then, 7.0 now"),
        ({"data": {"revision": "v2"}}, "run.data.revision", '"main" then, "v2" now'),
        ({"model": {"name": "Phi-4"}}, "run.model.name", "Phi-4"),
        ({"compute": {"size": "Standard_NC6s_v3"}}, "run.compute.size", "Standard_NC6s_v3"),
        ({"experiment": "other"}, "run.experiment", '"other" now'),
        ({"registered_name": "other"}, "run.registered_name", '"other" now'),
    ],
)  # fmt: skip
def test_other_parameters_are_refused_with_the_field_and_both_values(
    settings: Settings, queued: FineTune, changes: dict[str, Any], field: str, how: str
) -> None:
    run = form(str(queued.key), **{"parameters": {"num_train_epochs": 2}, **changes})

    found = gate(settings, run)

    assert [one.level for one in found] == ["error"]
    assert f"{field}: " in found[0].what and how in found[0].what
    assert job_name(run_key("", queued.key)) in found[0].what


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"deadlines": {"training_minutes": 5}},
        {"waiting": "suspended"},
        {"budget": 7},
        {"test": {"rows": 3}},
        {"endpoint": {"keep": True, "instance_type": "Standard_NC24s_v3"}},
        {"compute": {"max_nodes": 3, "may_create": False}},
        {"data": {"refresh": True}},
    ],
)
def test_what_does_not_make_the_job_may_differ(
    settings: Settings, queued: FineTune, changes: dict[str, Any]
) -> None:
    run = form(str(queued.key), **{"parameters": {"num_train_epochs": 2}, **changes})

    found = gate(settings, run)

    assert [one.level for one in found] == ["note"]
    assert "adopted" in found[0].what


def test_a_whole_run_with_other_parameters_creates_and_cancels_nothing(
    shared_emulator: RunningEmulator, settings: Settings, queued: FineTune
) -> None:
    run = form(str(queued.key), parameters={"num_train_epochs": 9})
    after = shared_emulator.requests()[-1]["index"]

    with pytest.raises(PlanRefused, match=r"run\.parameters\.num_train_epochs: 2 then, 9 now"):
        fine_tune(run)

    made = [one for one in shared_emulator.requests(after) if one["method"] in ("PUT", "DELETE")]
    assert made == []
    status = open_client(settings).jobs.get(job_name(run_key("", run.key))).status
    assert status in ("Queued", "Running")


def test_a_job_that_another_run_submitted_meanwhile_is_not_adopted(
    settings: Settings, queued: FineTune
) -> None:
    other = form(uuid.uuid4().hex, parameters={"num_train_epochs": 3})
    plan = planned(settings, other)
    name = job_name(run_key("", queued.key))
    raced = plan.model_copy(update={"job": plan.job.model_copy(update={"name": name})})

    with pytest.raises(KeyTaken) as raised:
        submitting(settings, other, raced, "any")

    assert raised.value.differences == {"run.parameters.num_train_epochs": "2 then, 3 now"}


def test_a_job_of_the_first_version_is_adopted_with_a_warning(
    settings: Settings, queued: FineTune
) -> None:
    job: Any = open_client(settings).jobs.get(job_name(run_key("", queued.key)))
    without = {name: value for name, value in job.tags.items() if not name.startswith(ASKED)}

    assert differences(asked_tags(form("x", experiment="other")), without) == {}
    assert differences(asked_tags(form("x", experiment="other")), None) == {}


def test_a_run_of_its_own_key_asks_for_no_job(
    shared_emulator: RunningEmulator, settings: Settings
) -> None:
    after = shared_emulator.requests()[-1]["index"]

    assert check_key.fn(settings, FineTune(), run_key("some-flow-run")) == []
    assert [one for one in shared_emulator.requests(after) if "/jobs/" in one["path"]] == []


def test_values_that_are_too_long_for_a_tag_are_compared_by_their_hash(tmp_path: Path) -> None:
    def run(last: str) -> FineTune:
        files = {"train_sft": f"/{'long' * 80}/{last}.jsonl"}
        return form("x", data={"files": files})

    first, second = asked_tags(run("a")), asked_tags(run("b"))

    assert first["finetune.run.data.files"].startswith("sha256:")
    assert all(len(value) <= 256 for value in first.values())
    assert differences(second, first) == {"run.data.files": "another"}
    assert differences(first, first) == {}
