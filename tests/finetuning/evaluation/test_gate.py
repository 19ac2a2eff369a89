"""The verdict: what follows from two models' answers, and what it rests on."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.gate import AT_MOST, EFFECTS, false_promotions, simulate, table
from finetuning.evaluation.answers import Answered, answer_key, manner_of
from finetuning.evaluation.gate import LEAST_ROWS, Answering, decide
from finetuning.evaluation.intervals import compare
from finetuning.evaluation.report import as_markdown, rows_as_lines
from finetuning.evaluation.suites import Row, Suite
from finetuning.form.evaluation import EvaluationChoice, SuiteRules
from finetuning.form.verdict import Contender, Verdict

NEW = Contender(id="azureml:m:2", name="m", version="2", role="candidate")
OLD = Contender(id="azureml:m:1", name="m", version="1", role="champion")


def suite(rows: int, **rules: object) -> Suite:
    made = SuiteRules.model_validate({"metric": "exact", "min_improvement": 0.0, **rules})
    asked = [
        Row(id=str(n), messages=[{"role": "user", "content": f"q{n}"}], reference="right")
        for n in range(rows)
    ]
    return Suite(name="mine", rules=made, rows=asked)


def answers(rows: int, right: int, wrong: str = "wrong") -> dict[str, Answered]:
    """So many answers, of which the first ``right`` are."""
    return {
        str(n): Answered(text="right" if n < right else wrong, seconds=0.1 * n) for n in range(rows)
    }


def verdict(ours: int, theirs: int | None, rows: int = 40, **rules: object) -> Verdict:
    old = {} if theirs is None else answers(rows, theirs)
    asked = Answering(suite(rows, **rules), answers(rows, ours), old)
    return decide([asked], NEW, OLD, EvaluationChoice(compare="kept"))


@pytest.mark.parametrize(
    "ours, theirs, rules, decision, why",
    [
        (36, 16, {}, "promote", "it changed by +0.500"),
        (20, 20, {}, "hold", "not all of it above 0"),
        (21, 20, {}, "hold", "it changed by +0.025"),
        (36, 30, {"min_improvement": 0.5}, "hold", "not all of it above 0.5"),
        (10, 30, {}, "refuse", "it fell by 0.500"),
        (19, 20, {"max_regression": 0.01}, "hold", "which may be chance"),
        (36, 16, {"floor": 0.95}, "refuse", "below the floor 0.95"),
        (20, 20, {"min_improvement": None}, "hold", "nothing had to improve"),
        (36, None, {}, "hold", "0 of 40 rows are answered by champion m:1"),
    ],
)
def test_the_rules_decide(
    ours: int, theirs: int | None, rules: dict[str, object], decision: str, why: str
) -> None:
    found = verdict(ours, theirs, **rules)

    assert (found.decision, why in found.why) == (decision, True), found.why


def test_too_few_rows_prove_nothing() -> None:
    assert verdict(LEAST_ROWS - 1, 0, rows=LEAST_ROWS - 1).decision == "hold"


def test_a_model_that_says_nothing_is_refused() -> None:
    asked = Answering(suite(40), answers(40, 30, wrong=" "), answers(40, 10))

    found = decide([asked], NEW, OLD, EvaluationChoice(compare="kept"))

    assert found.decision == "refuse"
    assert "10 of 40 answers are empty" in found.why


def test_what_is_forgotten_outweighs_what_is_learned() -> None:
    better = Answering(suite(40), answers(40, 40), answers(40, 0))
    forgot = suite(40, min_improvement=None).model_copy(update={"name": "general"})
    worse = Answering(forgot, answers(40, 5), answers(40, 35))

    found = decide([better, worse], NEW, OLD, EvaluationChoice(compare="kept"))

    assert found.decision == "refuse"
    assert found.why.startswith("general: it fell")


def test_the_worst_regressions_come_first_in_the_report_and_every_row_is_data() -> None:
    found = verdict(10, 30)

    changes = [one.change for one in found.suites[0].rows]
    assert changes == sorted(changes, key=lambda one: one or 0.0)
    assert changes[0] == -1
    assert "# Refuse: candidate m:2" in as_markdown(found)
    lines = [json.loads(one) for one in rows_as_lines(found)]
    assert sum(one["candidate_score"] for one in lines) / len(lines) == found.suites[0].mean


def test_cut_and_empty_answers_are_counted_and_latencies_are_percentiles() -> None:
    said = [
        Answered(text="x" * 40, seconds=1),
        Answered(text="x" * 40 + ".", seconds=2),
        Answered(text="", seconds=3),
    ]

    found = manner_of(said, max_new_tokens=10)

    assert (found.answers, found.cut, found.empty, found.p50) == (3, 1, 1, 2)


def test_an_answer_is_kept_by_model_question_and_parameters() -> None:
    asked = [{"role": "user", "content": "Hi"}]
    one = answer_key("azureml:m:1", asked, {"max_new_tokens": 5})

    assert one == answer_key("AzureML:m:1", asked, {"max_new_tokens": 5})
    others = [
        answer_key("azureml:m:2", asked, {"max_new_tokens": 5}),
        answer_key("azureml:m:1", asked, {"max_new_tokens": 6}),
        answer_key("azureml:m:1", [*asked, *asked], {"max_new_tokens": 5}),
    ]
    assert len({one, *others}) == 4


@given(st.lists(st.tuples(st.floats(0, 1), st.floats(0, 1)), min_size=20, max_size=30))
def test_an_interval_holds_its_mean_and_turns_with_the_models(
    pairs: list[tuple[float, float]],
) -> None:
    ours, theirs = [one for one, _ in pairs], [other for _, other in pairs]

    found, turned = compare(ours, theirs, 0.95), compare(theirs, ours, 0.95)

    assert found.low - 1e-9 <= found.mean <= found.high + 1e-9
    assert turned.mean == pytest.approx(-found.mean)
    assert compare(ours, theirs, 0.95) == found


def test_rows_that_all_differ_by_the_same_have_an_interval_without_a_width() -> None:
    found = compare([0.5] * 20, [0.25] * 20, 0.95)

    assert (found.low, found.mean, found.high) == (0.25, 0.25, 0.25)


def test_the_simulation_finds_what_the_rule_does() -> None:
    cells = simulate(trials=20)

    assert len(table(cells).splitlines()) == 2 + 10
    assert false_promotions(cells) <= AT_MOST + 0.15  # 20 trials; 1000 hold AT_MOST
    largest = [one for one in cells if one.effect == max(EFFECTS) and one.rows >= 200]
    assert np.mean([one.promoted for one in largest]) > 0.8
