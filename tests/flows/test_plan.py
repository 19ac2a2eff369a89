"""The plan: every gate at once, one report, and nothing created where there is an error."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from prefect import flow

from finetuning.azure import naming
from finetuning.errors import PlanRefused
from finetuning.form.run import FineTune
from finetuning.planning.findings import errors
from finetuning.planning.plan import Plan, PlanReport
from flows.plan import main, plan
from tasks.plan import settle_plan
from tests.conftest import ROOT, RunningEmulator
from tests.support.runs import context_of

WRITES = ("PUT", "PATCH", "DELETE")


@pytest.fixture
def planning(
    azure_env: RunningEmulator,
    prefect_server: None,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[RunningEmulator]:
    """An empty folder to plan in; afterwards the emulator must have seen nothing but reads."""
    monkeypatch.chdir(tmp_path)
    seen, before = azure_env.requests(), azure_env.summary()
    index = seen[-1]["index"] if seen else 0
    yield azure_env
    assert [one for one in azure_env.requests(after=index) if one["method"] in WRITES] == []
    after = azure_env.summary()
    for what in ("endpoints", "deployments", "jobs_started"):
        assert after[what] == before[what]


def planned(**changes: Any) -> PlanReport:
    found = plan(FineTune.model_validate(changes))
    assert isinstance(found, PlanReport)
    return found


def texts(found: PlanReport) -> list[str]:
    return [str(one) for one in errors(found.findings)]


def test_the_default_run_is_planned_without_an_error(planning: RunningEmulator) -> None:
    found = planned(key="tutorial", compute={"name": "not-there-yet"})

    assert texts(found) == []
    assert found.plan is not None
    key = naming.run_key("", "tutorial")
    made = {one.kind: one.name for one in found.would_create}
    assert made["job"] == f"fine-tune-{key}"
    assert made["endpoint"] == f"ultrachat-completion-{key}"
    assert made["cluster"] == "not-there-yet"
    assert found.plan.job.model.version == "8"
    assert found.plan.job.component == "0.0.82"
    assert found.plan.job.gpus_per_node == 1
    assert found.plan.job.parameters["learning_rate"] == 5e-6
    assert found.plan.job.parameters["deepspeed_stage"] == "3"
    assert found.estimate is not None and found.estimate.total > 0


def test_a_bad_suite_is_told_in_the_plan_and_nothing_is_created(
    planning: RunningEmulator, tmp_path: Path
) -> None:
    (tmp_path / "mine.jsonl").write_text('{"messages": [{"role": "user"}]}\n')
    suites = {"mine": {"file": "mine.jsonl"}, "none": {"file": "none.jsonl"}}

    found = planned(key="badly-judged", evaluation={"compare": "kept", "suites": suites})

    assert found.plan is None
    told = [one for one in texts(found) if one.startswith("evaluation: ")]
    assert len(told) == 2
    assert "Suite 'mine' has broken rows: line 1: 'messages[0].content' is not text" in told[0]
    assert "Suite 'none' cannot be read" in told[1]


def test_the_plan_says_what_an_evaluation_costs(planning: RunningEmulator) -> None:
    found = planned(key="judged", evaluation={"compare": "kept"})

    notes = [one.what for one in found.findings if one.gate == "evaluation"]
    assert any("questions of up to 200 tokens" in one for one in notes)
    assert any("it is not deployed again" in one for one in notes)


def test_the_report_is_written_as_data(planning: RunningEmulator, tmp_path: Path) -> None:
    planned()

    report = json.loads((tmp_path / "var/plan/report.json").read_text())
    assert set(report) == {"findings", "parameters", "would_create", "candidates", "estimate"}
    assert set(report["findings"][0]) == {"gate", "level", "what", "change"}
    assert {"name", "value", "origin"} == set(report["parameters"][0])
    origins = {one["name"]: one["origin"] for one in report["parameters"]}
    assert origins["learning_rate"] == "model card"
    assert origins["seed"] == "component"
    assert report["estimate"]["total"] > 0
    assert report["estimate"]["source"]


def test_every_gates_error_is_in_one_report(planning: RunningEmulator) -> None:
    found = planned(
        model={"name": "Phi-3-mini-4k-instruct", "version": "15"},
        compute={"name": "too-small", "size": "Standard_NC6"},
        data={"percentage": 0.1},
        parameters={
            "per_device_train_batch_size": 4,
            "other": {"learning_rat": 1e-5, "precision": "8", "max_steps": "soon"},
        },
        endpoint={"instance_type": "Standard_D4s_v3"},
        budget=0.01,
    )

    said = texts(found)
    assert found.plan is None
    for gate, words in (
        ("model", "archived"),
        ("parameters", "Did you mean 'learning_rate'?"),
        ("parameters", "Choose one of 32, 16."),
        ("parameters", "Parameter 'max_steps' is 'soon': not a number. Use an integer."),
        ("compute", "Standard_NC6 is not allowed"),
        ("lifecycle", "Standard_NC6 (run.compute.size) was retired on 2023-09-06"),
        ("data", "Split train_sft has 1 rows; one training step needs 4"),
        ("endpoint", "Standard_D4s_v3 is not allowed"),
        ("money", "above its budget of 0.01"),
    ):
        assert any(one.startswith(f"{gate}: ") and words in one for one in said), (gate, said)


def test_a_cards_foreign_defaults_are_dropped_with_a_warning(planning: RunningEmulator) -> None:
    found = planned(
        model={"name": "Phi-3-mini-4k-instruct", "version": "15", "allow_retired": True},
        compute={"name": "not-there-yet", "size": "Standard_NC24ads_A100_v4"},
        endpoint={"instance_type": "Standard_NC24ads_A100_v4"},
    )

    assert texts(found) == []
    assert found.plan is not None
    assert "learning_rate_min" not in found.plan.job.parameters
    warned = [one.what for one in found.findings if one.level == "warning"]
    assert any("learning_rate_min" in one for one in warned)


@pytest.mark.parametrize(
    ("changes", "gate", "words"),
    [
        ({"model": {"name": "Phi-99"}}, "model", "'Phi-99:latest' is not in registry"),
        ({"data": {"dataset": "nobody/nothing"}}, "data", "is not on the Hub"),
        (
            {"data": {"splits": ["train_sft", "test_sft"]}},
            "data",
            "test_gen is missing",
        ),
    ],
)
def test_one_error_is_enough_to_refuse(
    planning: RunningEmulator, changes: dict[str, Any], gate: str, words: str
) -> None:
    found = planned(**changes)

    assert found.plan is None
    assert any(one.startswith(f"{gate}: ") and words in one for one in texts(found)), texts(found)


@flow
def settle(run: FineTune) -> Plan:
    return settle_plan(context_of(run), run)


def test_a_run_with_errors_is_refused_with_all_of_them(planning: RunningEmulator) -> None:
    run = FineTune.model_validate(
        {
            "model": {"name": "Phi-3-mini-4k-instruct", "version": "15"},
            "parameters": {"other": {"deepspeed_stage_": 2}},
        }
    )

    with pytest.raises(PlanRefused) as refused:
        settle(run)

    assert len(refused.value.reasons) == 4
    assert "nothing was created" in str(refused.value)
    assert "deepspeed_stage" in str(refused.value)


def test_a_misspelt_recipe_is_refused_with_the_nearest(planning: RunningEmulator) -> None:
    found = planned(recipe="chat_completoin")

    (said,) = texts(found)
    assert found.plan is None
    assert said.startswith("recipe: There is no recipe 'chat_completoin' (run.recipe).")
    assert "Did you mean 'chat_completion'?" in said


def test_a_run_without_errors_is_settled(planning: RunningEmulator) -> None:
    found = settle(FineTune(key=uuid.uuid4().hex))

    allowed = found.compute.allowed
    assert allowed is not None and "Standard_NC24ads_A100_v4" in allowed
    assert found.job.rows_per_step == 1
    assert found.job.nodes.size == "Standard_NC24ads_A100_v4"


def test_without_settings_the_plan_says_what_to_set(
    prefect_server: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in list(os.environ):
        if name.startswith("AZURE"):
            monkeypatch.delenv(name)

    found = planned()

    assert len(texts(found)) == 1
    assert "lacks AZURE_SUBSCRIPTION_ID" in texts(found)[0]
    assert (tmp_path / "var/plan/report.json").exists()


def test_the_command_prints_the_report_and_ends_with_1_where_there_is_an_error(
    planning: RunningEmulator, capsys: pytest.CaptureFixture[str]
) -> None:
    refused = main(["--model.name", "Phi-3-mini-4k-instruct", "--model.version", "15"])
    printed = capsys.readouterr().out
    held = main([])

    assert (refused, held) == (1, 0)
    assert "The plan is refused" in printed and "archived" in printed
    assert "The plan is ready" in capsys.readouterr().out


def test_without_a_prefect_server_the_command_plans_the_same(
    planning: RunningEmulator, tmp_path: Path
) -> None:
    alone = {name: value for name, value in os.environ.items() if name != "PREFECT_API_URL"}
    alone |= {"PYTHONPATH": str(ROOT), "PREFECT_HOME": str(tmp_path / "home")}

    done = subprocess.run(
        [sys.executable, "-m", "flows.plan", "--preset", "phi-3-mini"],
        env=alone,
        capture_output=True,
        text=True,
        timeout=120,
    )

    assert done.returncode == 1, done.stderr
    assert "The plan is refused" in done.stdout
    report = json.loads((tmp_path / "var/plan/report.json").read_text())
    there = json.loads(json.dumps(planned(preset="phi-3-mini").as_data()))
    assert report["parameters"] == there["parameters"]
    assert [(one["gate"], one["level"]) for one in report["findings"]] == [
        (one["gate"], one["level"]) for one in there["findings"]
    ]
    assert "temporary server" not in done.stderr + done.stdout


def test_a_new_users_env_file_is_all_that_the_command_needs(
    planning: RunningEmulator, tmp_path: Path
) -> None:
    """Settings of ours, and the variables of the SDK, of azure-identity and of requests."""
    lines = [f"{name}={value}" for name, value in planning.env.items()]
    (tmp_path / ".env").write_text("\n".join(lines))
    bare = {name: value for name, value in os.environ.items() if name not in planning.env}
    bare |= {"PYTHONPATH": str(ROOT), "PREFECT_HOME": str(tmp_path / "home")}
    del bare["FINETUNE_ENV_FILE"]
    bare.pop("PREFECT_API_URL", None)

    done = subprocess.run(
        [sys.executable, "-m", "flows.plan"],
        cwd=tmp_path,
        env=bare,
        capture_output=True,
        text=True,
        timeout=120,
    )

    assert done.returncode == 0, done.stdout + done.stderr
    assert "The plan is ready" in done.stdout


def command(folder: Path, **variables: str) -> subprocess.CompletedProcess[str]:
    """``python -m flows.plan`` in a folder, without a setting but these variables."""
    bare = {name: value for name, value in os.environ.items() if not name.startswith("AZURE")}
    bare |= {"PYTHONPATH": str(ROOT), "PREFECT_HOME": str(folder / "home")}
    bare.pop("PREFECT_API_URL", None)
    return subprocess.run(
        [sys.executable, "-m", "flows.plan"],
        cwd=folder,
        env=bare | variables,
        capture_output=True,
        text=True,
        timeout=120,
    )


@pytest.mark.parametrize(
    ("variables", "said"),
    [
        (
            {"PREFECT_API_URL": "http://127.0.0.1:9/api"},
            "The Prefect server http://127.0.0.1:9/api does not answer",
        ),
        ({"FINETUNE_BLOCK": "night"}, "No Prefect server is named."),
    ],
)
def test_a_server_that_is_not_there_is_told_in_a_sentence(
    variables: dict[str, str], said: str, tmp_path: Path
) -> None:
    done = command(tmp_path, **variables)

    assert done.returncode == 1
    assert done.stderr.startswith(said)
    assert "Traceback" not in done.stderr


def test_without_a_server_and_a_setting_the_command_says_what_to_set(tmp_path: Path) -> None:
    done = command(tmp_path, COLUMNS="400")  # so that no line of the report is broken

    assert done.returncode == 1
    assert "The workspace connection lacks AZURE_SUBSCRIPTION_ID" in done.stdout
    assert "Traceback" not in done.stderr and "temporary server" not in done.stderr
