"""The gate of the suites: a bad one is told in the plan, before anything is paid for."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from finetuning.azure.settings import Settings
from finetuning.evaluation.answers import Answered
from finetuning.form.evaluation import EvaluationChoice
from finetuning.planning.findings import Report
from finetuning.planning.rules.evaluation import check_evaluation
from tasks.evaluation import look_at_suites
from tasks.kept_results import KeptJson
from tests.support.findings import errors_of


def choice(**values: Any) -> EvaluationChoice:
    return EvaluationChoice.model_validate({"compare": "kept", **values})


def test_the_suite_that_comes_along_is_read(settings: Settings, nothing_is_written: None) -> None:
    found = look_at_suites.fn(settings, choice())

    assert [one.name for one in found.suites] == ["general"]
    assert found.findings == []


@pytest.mark.parametrize(
    "content, said",
    [
        ("{", "Suite 'mine' has broken rows: line 1: it is no JSON"),
        ('{"messages": [{"role": "user", "content": "Hi"}]}', "has no reference"),
        ("", "Suite 'mine' has no rows"),
        (None, "Suite 'mine' cannot be read: .*No such file"),
        (b"\xff\xfe", "Suite 'mine' cannot be read"),
    ],
)
def test_a_bad_suite_is_an_error_of_the_plan(
    settings: Settings, tmp_path: Path, content: str | bytes | None, said: str
) -> None:
    import re

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
        ({"suites": {"My Suite": {"file": "x"}}}, "should match pattern"),
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

    assert any("no suite can be asked" in one for one in errors_of(nothing.findings))
    assert [one.level for one in few.findings] == ["warning", "note"]
    assert "Suite 'own' has 3 rows" in few.findings[0].what


def test_an_answer_is_kept_as_it_was() -> None:
    answer = Answered(text="Grüße", seconds=0.25)

    assert KeptJson().loads(KeptJson().dumps(answer)) == answer
