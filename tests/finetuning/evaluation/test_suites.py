"""Suites: what is read of a file, and what a bad one is told."""

from __future__ import annotations

import json

import pytest

from finetuning.errors import SettingsError, SuiteError
from finetuning.evaluation.leakage import leave_out_leaked
from finetuning.evaluation.metrics import score
from finetuning.evaluation.suites import SHIPPED, Row, Suite, own_suite, read_suite
from finetuning.form.evaluation import GeneralSuite, Metric, OwnSuite, SuiteRules


def asked(text: str) -> list[dict[str, str]]:
    return [{"role": "user", "content": text}]


def line(text: str, **more: object) -> str:
    return json.dumps({"messages": asked(text), **more})


def rules(metric: Metric = "rouge_l") -> SuiteRules:
    return SuiteRules(metric=metric)


def row(**more: object) -> Row:
    return Row.model_validate({"id": "one", "messages": asked("Hi"), **more})


def test_the_suite_that_comes_along_is_whole() -> None:
    suite = read_suite("general", SHIPPED.read_text().splitlines(), GeneralSuite())

    assert len(suite.rows) >= 20
    assert {one.reference for one in suite.rows} == {None}


def test_an_answer_at_the_end_is_the_reference_and_is_not_asked() -> None:
    messages = [*asked("Hi"), {"role": "assistant", "content": "Hello!"}]

    suite = read_suite("mine", [json.dumps({"messages": messages}), "", "  "], rules())

    assert [one.messages for one in suite.rows] == [asked("Hi")]
    assert suite.rows[0].reference == "Hello!"


@pytest.mark.parametrize(
    "bad, metric, said",
    [
        ("{", "rouge_l", "line 1: it is not JSON"),
        ("7", "rouge_l", "line 1: it is not a JSON object"),
        ('{"messages": []}', "rouge_l", "'messages' is not a list"),
        ('{"messages": [{"role": "user"}]}', "rouge_l", r"'messages\[0\].content' is not text"),
        ('{"messages": [{"role": "x", "content": "y"}]}', "exact", r"role' is not one of"),
        (line("Hi"), "chrf", "no reference, which the metric 'chrf' needs"),
        (line("Hi", reference=" "), "chrf", "no reference"),
        (line("Hi", reference="yes"), "check", "no 'check'"),
        (line("Hi", check={"regex": "("}), "check", "its regex is not valid"),
        (line("Hi", check={"json": {"type": "no such"}}), "check", "JSON schema is not valid"),
        (line("Hi", check={"regex": "a", "json": {}}), "check", "no 'check' of one"),
        (
            json.dumps({"messages": [{"role": "assistant", "content": "x"}], "reference": "y"}),
            "exact",
            "does not end with a user's message",
        ),
    ],
)
def test_a_broken_row_is_told_by_its_line_with_the_form_that_it_needs(
    bad: str, metric: Metric, said: str
) -> None:
    with pytest.raises(SuiteError, match=rf"Suite 'mine' has broken rows.*{said}.*A row is"):
        read_suite("mine", [bad], rules(metric))


def test_the_same_question_twice_is_told() -> None:
    twice = [line("Hi", reference="a"), line("Hi", reference="b")]

    with pytest.raises(SuiteError, match="line 2: asks the same as 'Hi'"):
        read_suite("mine", twice, rules())


def test_an_empty_suite_is_told() -> None:
    with pytest.raises(SuiteError, match=r"'mine' has no rows.*run\.evaluation"):
        read_suite("mine", ["", " "], rules())
    with pytest.raises(SuiteError, match="'own' has no rows"):
        own_suite([asked("a question without an answer")], OwnSuite())


def test_an_unknown_metric_is_told_with_the_nearest() -> None:
    with pytest.raises(SettingsError, match=r"no metric 'rouge'\. Did you mean 'rouge_l'"):
        score("rouge", row(reference="a"), "a")


@pytest.mark.parametrize("metric", ["rouge_l", "chrf", "exact"])
def test_the_reference_itself_scores_one_and_silence_nothing(metric: Metric) -> None:
    wanted = row(reference="The cat sat on the mat.")

    assert score(metric, wanted, "The cat sat on the mat.") == pytest.approx(1)
    assert score(metric, wanted, " ") == 0
    assert score(metric, wanted, "A dog sat on a mat.") < 1


@pytest.mark.parametrize(
    "check, answer, passes",
    [
        ({"regex": r"\bParis\b"}, "It is Paris.", True),
        ({"regex": r"\bParis\b"}, "Parisian", False),
        ({"json_schema": {"required": ["ok"]}}, '{"ok": true}', True),
        ({"json_schema": {"required": ["ok"]}}, "{}", False),
        ({"json_schema": {}}, "Sure! {}", False),
    ],
)
def test_a_check_is_passed_or_not(check: dict[str, object], answer: str, passes: bool) -> None:
    assert score("check", row(**check), answer) == float(passes)


LONG = "one two three four five six seven eight nine ten"


def suite_of(*texts: str) -> Suite:
    return read_suite("mine", [line(text, reference=f"{text} answered") for text in texts], rules())


def test_rows_in_the_training_data_are_left_out_and_counted() -> None:
    suite = suite_of(LONG, "something else altogether that nobody has trained on")
    training = [asked("x"), [*asked(f"Well, {LONG.upper()} answered"), *asked("and more")]]

    [left] = leave_out_leaked([suite], training, max_leaked=0.5)

    assert [one.question for one in left.rows] == [suite.rows[1].question]
    assert left.leaked == 1


def test_a_suite_that_leaks_more_than_it_may_is_refused_with_the_lines() -> None:
    with pytest.raises(SuiteError, match=r"1 of its 2 rows .*lines 2\).*max_leaked"):
        leave_out_leaked(
            [suite_of(LONG, "another")],
            [asked("x"), asked(f"{LONG} answered")],
            max_leaked=0.4,
        )


def test_a_conversation_on_the_same_matter_is_no_leak() -> None:
    training = [asked("one two three and then four five six seven, but nine ten eight")]

    [left] = leave_out_leaked([suite_of(LONG)], training, max_leaked=0)

    assert left.leaked == 0
