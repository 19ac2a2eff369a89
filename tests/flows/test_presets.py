"""Each preset, from the plan to the endpoint's answer, against the emulator."""

from __future__ import annotations

import json
import uuid
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from prefect import flow
from prefect.context import FlowRunContext

import flows.lifecycle.events as events
from emulator.services.hub.conversations import make_reasoning_dataset
from finetuning.errors import PlanRefused
from finetuning.form.presets import shipped_presets
from finetuning.form.run import FineTune
from finetuning.planning.findings import errors
from finetuning.planning.lifecycle import Ending
from finetuning.planning.plan import PlanReport
from flows.fine_tune import fine_tune
from flows.plan import plan
from tests.conftest import RunningEmulator
from tests.support.plans import plan_of
from tests.support.runs import small

ALLOWED = {"phi-3-mini": {"model": {"allow_retired": True}}}


def planned(**changes: Any) -> PlanReport:
    found = plan(FineTune.model_validate(changes))
    assert isinstance(found, PlanReport)
    return found


def texts(found: PlanReport) -> list[str]:
    return [str(one) for one in errors(found.findings)]


@pytest.mark.parametrize("preset", shipped_presets())
def test_each_preset_is_planned_without_an_error_and_without_what_retires_soon(
    stage: RunningEmulator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, preset: str
) -> None:
    monkeypatch.chdir(tmp_path)

    found = planned(preset=preset, compute={"name": "of-no-test"}, **ALLOWED.get(preset, {}))

    assert texts(found) == []
    assert not [one for one in found.findings if one.gate == "lifecycle"]
    decided = next(one.what for one in found.findings if one.gate == "recipe")
    assert f"Preset '{preset}' decides model." in decided


def test_a_run_without_parameters_is_planned_without_an_error(
    stage: RunningEmulator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)

    found = planned()

    assert texts(found) == []
    assert found.plan is not None
    assert (found.plan.job.model.name, found.plan.job.model.version) == ("Phi-4", "8")
    assert found.plan.serving.nodes.size == "Standard_NC24ads_A100_v4"


def test_the_size_of_a_new_cluster_is_the_cards_first_that_can_be_had(
    stage: RunningEmulator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)

    found = planned(compute={"name": f"c-{uuid.uuid4().hex[:8]}"})

    assert any("Training is on Standard_NC24ads_A100_v4" in one.what for one in found.findings)


def test_the_tutorials_model_is_refused_by_name_and_date(
    stage: RunningEmulator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)

    found = texts(planned(preset="phi-3-mini"))

    assert "Phi-3-mini-4k-instruct:1 was retired for fine-tuning on 2025-08-30." in found[0]
    assert "Phi-4" in found[0] and "run.model.allow_retired" in found[0]


def test_a_presets_parameter_says_preset_and_the_users_says_user(
    stage: RunningEmulator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    gpt = {"preset": "gpt-oss-20b", "compute": {"name": "of-no-test"}}

    by_preset = {one.name: one for one in planned(**gpt).parameters}["deepspeed_stage"]
    chosen = planned(**gpt, parameters={"deepspeed_stage": 2}).parameters
    by_user = {one.name: one for one in chosen}["deepspeed_stage"]
    assert (by_preset.value, by_preset.origin) == ("3", "preset")
    assert (by_user.value, by_user.origin) == ("2", "user")


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"model": {"registry": "no-such"}}, "Registry 'no-such' is not there."),
        ({"model": {"registry": "no-such", "version": "1"}}, "Registry 'no-such' is not there."),
        (
            {"preset": "gpt-oss-20b", "data": {"max_rows": 4}},
            "Split 'train' is too small to cut: of 4 rows there is none for validation and test",
        ),
        ({"endpoint": {"instance_type": "Standard_NC6s_v3"}}, "was retired on 2025-09-30"),
        ({"compute": {"name": "low", "tier": "low_priority"}}, "was retired on 2026-03-31"),
    ],
)
def test_what_azure_has_not_is_refused_before_anything_is_made(
    stage: RunningEmulator,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    changes: dict[str, Any],
    said: str,
) -> None:
    monkeypatch.chdir(tmp_path)

    assert any(said in one for one in texts(planned(**changes)))


def test_a_table_of_ends_that_cannot_be_read_refuses_every_plan(
    stage: RunningEmulator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "lifecycle.toml").write_text("read = never")

    (found,) = texts(planned())
    assert found.startswith("lifecycle: The lifecycle table") and "not TOML" in found


def test_an_old_table_says_so_in_every_plan(
    stage: RunningEmulator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "lifecycle.toml").write_text("read = 2025-01-01\n")

    found = planned()
    assert texts(found) == []
    assert any("was read on 2025-01-01" in one.what for one in found.findings)


def as_published(cache: Path) -> list[list[dict[str, Any]]]:
    """The messages of the stand-in's rows, as its file has them."""
    (file,) = make_reasoning_dataset(cache).glob("data/*.parquet")
    return [row["messages"] for row in pq.read_table(file).to_pylist()]


@pytest.mark.slow
def test_the_successor_runs_to_an_answer_and_its_reasoning_reaches_the_training_unchanged(
    stage: RunningEmulator, tmp_path: Path
) -> None:
    result = fine_tune(small(uuid.uuid4().hex, preset="gpt-oss-20b", data={"max_rows": 60}))

    assert result.model.id.startswith("azureml://registries/azureml-openai-oss/models/gpt-oss-20b")
    assert result.data.rows == {"train": 48, "validation": 6, "test": 6}
    rows = {
        part: [json.loads(line) for line in result.data.file(part).read_text().splitlines()]
        for part in result.data.splits
    }
    written = [row["messages"] for part in rows.values() for row in part]
    first = as_published(tmp_path)[:60]
    assert sorted(map(str, written)) == sorted(map(str, first))  # each once, none changed
    assert all(one[2]["thinking"] and one[0]["role"] == "system" for one in written)
    assert result.metrics.curves["eval_loss"]
    assert result.answers[0].answer.strip()
    assert stage.summary()["endpoints"] == []


@pytest.mark.slow
def test_the_tutorials_preset_runs_to_an_answer_where_it_is_allowed(stage: RunningEmulator) -> None:
    run = small(
        uuid.uuid4().hex,
        preset="phi-3-mini",
        model={"allow_retired": True},
        compute={"name": "of-the-tutorial"},
    )

    result = fine_tune(run)

    assert result.model.version == "1"
    assert result.answers[0].answer.strip()
    assert stage.summary()["endpoints"] == []


@pytest.mark.slow
def test_a_retired_model_that_is_not_allowed_costs_nothing(stage: RunningEmulator) -> None:
    before = stage.summary()["jobs_started"]

    with pytest.raises(PlanRefused, match="2025-08-30"):
        fine_tune(small(uuid.uuid4().hex, preset="phi-3-mini"))

    assert stage.summary()["jobs_started"] == before


@pytest.mark.parametrize(
    ("scheduled", "days", "told"), [(True, 99, 1), (True, 101, 0), (False, 99, 0)]
)
def test_a_scheduled_runs_model_that_retires_within_its_schedule_is_told(
    prefect_server: None,
    monkeypatch: pytest.MonkeyPatch,
    scheduled: bool,
    days: int,
    told: int,
) -> None:
    emitted: list[dict[str, Any]] = []
    monkeypatch.setattr(events, "emit_event", lambda **event: emitted.append(event))
    ends = Ending(retires=date.today() + timedelta(days=days), successor="a-5", source="a card")
    planned_run = plan_of(FineTune(key="told"), model_ends=ends)

    @flow
    def weekly() -> None:
        context = FlowRunContext.get()
        assert context is not None and context.flow_run is not None
        context.flow_run.auto_scheduled = scheduled
        events.tell_of_retirement(planned_run)

    weekly()

    assert len(emitted) == told
    for event in emitted:
        assert event["event"] == "fine-tune.model.retires"
        assert event["payload"]["successor"] == "a-5"
        assert event["payload"]["retires"] == ends.retires.isoformat()
