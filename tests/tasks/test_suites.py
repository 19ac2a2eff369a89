"""The gate of the suites: a bad one is told in the plan, before anything is paid for."""

from __future__ import annotations

import json
import re
import uuid
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from finetuning.azure.settings import Settings
from finetuning.errors import ServiceError
from finetuning.evaluation.answers import Answered
from finetuning.evaluation.suites import read_suite
from finetuning.form.evaluation import EvaluationChoice, SuiteRules
from finetuning.form.results import RegisteredModel
from finetuning.planning.findings import Report
from finetuning.planning.plan import EvaluationPlan
from finetuning.planning.rules.evaluation import check_evaluation
from tasks.evaluation import _candidate, _keep, ask_suites, look_at_suites
from tasks.kept_results import KeptJson
from tests.support.findings import errors_of
from tests.support.plans import plan_of
from tests.support.runs import context_of, small


def choice(**values: Any) -> EvaluationChoice:
    return EvaluationChoice.model_validate({"compare": "kept", **values})


def test_the_suite_that_comes_along_is_read(settings: Settings, nothing_is_written: None) -> None:
    found = look_at_suites.fn(settings, choice())

    assert [one.name for one in found.suites] == ["general"]
    assert found.findings == []


@pytest.mark.parametrize(
    "content, said",
    [
        ("{", "Suite 'mine' has broken rows: line 1: it is not JSON"),
        ('{"messages": [{"role": "user", "content": "Hi"}]}', "has no reference"),
        ("", "Suite 'mine' has no rows"),
        (None, "Suite 'mine' cannot be read: .*No such file"),
        (b"\xff\xfe", "Suite 'mine' cannot be read"),
    ],
)
def test_a_bad_suite_is_an_error_of_the_plan(
    settings: Settings, tmp_path: Path, content: str | bytes | None, said: str
) -> None:
    file = tmp_path / "mine.jsonl"
    if content is not None:
        file.write_bytes(content if isinstance(content, bytes) else content.encode())
    suites = {"mine": {"file": str(file), "metric": "rouge_l"}}

    found = look_at_suites.fn(settings, choice(suites=suites))

    [error] = errors_of(found.findings)
    assert re.search(said, error), error


@pytest.mark.parametrize(
    "values, said",
    [
        ({"own": {"metric": "rogue_l"}}, "own.metric"),
        ({"suites": {"own": {"file": "x"}}}, "every run has"),
        ({"suites": {"My Suite": {"file": "x"}}}, "a suite's name is"),
        ({"compare": "always"}, "compare"),
    ],
)
def test_what_a_form_cannot_mean_is_refused_by_its_field(values: dict[str, Any], said: str) -> None:
    with pytest.raises(ValidationError, match=said):
        choice(**values)


def test_an_evaluation_of_nothing_is_an_error_and_too_few_rows_are_warned_of() -> None:
    nothing, few = Report("evaluation"), Report("evaluation")

    check_evaluation(choice(own={"rows": 0}), [], None, nothing)
    check_evaluation(choice(own={"rows": 3}), [], None, few)

    assert any("it has no suite" in one for one in errors_of(nothing.findings))
    assert [one.level for one in few.findings] == ["warning", "note"]
    assert "Suite 'own' has 3 rows" in few.findings[0].what


def test_an_answer_is_kept_as_it_was() -> None:
    answer = Answered(text="Grüße", seconds=0.25)

    assert KeptJson().loads(KeptJson().dumps(answer)) == answer


def test_only_rows_without_a_kept_answer_are_asked(
    settings: Settings, prefect_server: None
) -> None:
    run = small(uuid.uuid4().hex, evaluation={"compare": "kept"})
    context, asked = context_of(run), read_suite("mine", [line("one"), line("two")], SuiteRules())
    plan = plan_of(run).model_copy(
        update={"evaluation": EvaluationPlan(choice=run.evaluation, suites=[asked])}
    )
    model = RegisteredModel(name="kept", version=uuid.uuid4().hex[:10], id="x", adopted=False)
    candidate = _candidate(settings, model)
    _keep(candidate, asked.rows[0], run.evaluation, Answered(text="1", seconds=1))

    with pytest.raises(ServiceError, match="Ask the suites"):  # there is no endpoint to ask
        ask_suites.fn(context, plan, model, [asked])
    _keep(candidate, asked.rows[1], run.evaluation, Answered(text="2", seconds=1))

    assert ask_suites.fn(context, plan, model, [asked]) == 0


def line(text: str) -> str:
    return json.dumps({"messages": [{"role": "user", "content": text}], "check": {"regex": "."}})
