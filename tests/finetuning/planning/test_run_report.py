"""The one report of a run: what it says first, however the run ended, and that it is harmless."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from html.parser import HTMLParser
from typing import Any

from finetuning.errors import DeploymentFailed
from finetuning.form.data import PreparedData, PreparedFile
from finetuning.form.evaluation import SuiteRules
from finetuning.form.promotion import Promoted
from finetuning.form.results import (
    Answer,
    Metrics,
    RegisteredModel,
    Served,
    SubmittedJob,
    Trained,
)
from finetuning.form.verdict import Contender, Manner, RowScore, SuiteResult, Verdict
from finetuning.planning.prices import cost_line
from finetuning.planning.run_report import RunReport, as_html, as_markdown
from finetuning.planning.spending import Actual
from tests.support.plans import MODEL, plan_of
from tests.support.runs import small

BEGAN = datetime(2026, 11, 28, 8, tzinfo=UTC)
PLAN = plan_of(small("reported"))
JOB = SubmittedJob(
    name="fine-tune-1", status="Completed", studio_url="https://ml.azure.com/runs/1", adopted=False
)


def trained() -> Trained:
    file = PreparedFile(path="/nowhere", rows=16, bytes=1, sha256="ab" * 32)
    data = PreparedData(
        dataset="HuggingFaceH4/ultrachat_200k",
        commit="c0ffee",
        version="d1gest",
        manifest="/nowhere",
        choice=PLAN.data,
        files={"train_sft": file},
    )
    curves = {"loss": [(1, 4.4), (2, 3.3), (3, 2.8)], "eval_loss": [(1, 4.2), (3, 3.5)]}
    return Trained(
        model=MODEL,
        cluster="gpu",
        data=data,
        parameters={},
        job=JOB,
        metrics=Metrics(final={"loss": 2.8}, curves=curves),
        registered=RegisteredModel(name="new", version="7", id="azureml:new:7", adopted=False),
    )


def report(**known: Any) -> RunReport:
    values: dict[str, Any] = {
        "flow_run_id": "11111111-2222-3333-4444-555555555555",
        "name": "Phi-4 · ultrachat_200k 1 %",
        "outcome": "completed",
        "began": BEGAN,
        "ended": BEGAN + timedelta(seconds=90),
    }
    return RunReport(**(values | known))


def served(answer: str = "Nothing.", *, kept: bool = False) -> Served:
    asked = Answer(question="Why?", reference="Because.", answer=answer)
    return Served(endpoint="e", endpoint_kept=kept, answers=[asked])


def whole() -> RunReport:
    spent = Actual(currency="USD", lines=[cost_line("training: finetune", "Standard_X", 0.5, 4.0)])
    steps = {"Wait for the fine-tuning job": 60.0}
    return report(plan=PLAN, job=JOB, trained=trained(), served=served(), spent=spent, steps=steps)


def test_the_outcome_is_the_first_line_and_every_part_has_its_place() -> None:
    text = as_markdown(whole())

    headings = [line for line in text.splitlines() if line.startswith("#")]
    assert headings[0].startswith("# Completed")
    assert [one.removeprefix("## ") for one in headings[1:]] == [
        "Model and data",
        "Training",
        "Answers",
        "Cost",
        "Times",
        "Created, and left",
        "What to do next",
    ]


def test_model_data_cost_and_times_are_told_with_hash_and_link() -> None:
    text = as_markdown(whole())

    for word in (
        "azureml://a-model",
        "azureml:new:7",
        "d1gest",
        "abababababababab",
        "[fine-tune-1](https://ml.azure.com/runs/1)",
        "huggingface.co/datasets/HuggingFaceH4/ultrachat_200k",
        "| training loss | 4.400 | 2.800 |",
        "| in all | unknown | 2.00 |",
        "| in all | 90.0 |",
        "| endpoint |",
        "deleted",
    ):
        assert word in text, word


def judged() -> Verdict:
    rows = [
        RowScore(
            id=str(number),
            question=f"question {number}",
            wanted="w",
            candidate="c",
            candidate_score=number / 10,
        )
        for number in range(8)
    ]
    manner = Manner(answers=8, empty=0, cut=0, p50=0.1, p95=0.2)
    suite = SuiteResult(
        suite="own",
        digest="d",
        rules=SuiteRules(),
        leaked=0,
        mean=0.35,
        difference=None,
        candidate=manner,
        champion=None,
        decision="hold",
        why="there is no champion",
        rows=rows,
    )
    model = {"id": "m", "name": "new", "version": "7"}
    return Verdict(
        decision="hold",
        why="suite own holds",
        candidate=Contender(**model, role="candidate"),
        champion=Contender(**model, role="champion"),
        confidence=0.95,
        suites=[suite],
    )


def test_the_verdict_comes_first_and_shows_the_worst_and_the_best_answers() -> None:
    verdict = judged().shortened(4)
    text = as_markdown(report(plan=PLAN, job=JOB, trained=trained(), verdict=verdict))

    assert text.startswith("# Hold: suite own holds")
    worst, best = text.split("own: worst answers")[1].split("own: best answers")
    assert "question 0" in worst and "question 1" in worst
    assert "question 7" in best and "question 6" in best and "question 0" not in best


def test_a_promotion_tells_who_has_the_traffic_and_what_is_kept_for_a_rollback() -> None:
    promotion = Promoted(
        outcome="returned", why="3 of 20 requests failed at 10 %", endpoint="product",
        model="m", version="2", serving="blue",
    )  # fmt: skip

    text = as_markdown(whole().model_copy(update={"promotion": promotion}))

    assert "## Promotion" in text
    assert "3 of 20 requests failed at 10 %" in text
    assert "blue" in text
    assert "kept for a rollback" not in text


def test_a_run_that_failed_half_way_tells_its_error_what_it_made_and_what_to_do() -> None:
    error = DeploymentFailed("e", "demo", "no capacity for this VM size.")
    text = as_markdown(
        report(
            outcome="failed",
            error=str(error),
            error_class="DeploymentFailed",
            plan=PLAN,
            job=JOB,
            trained=trained(),
        )
    )

    assert text.startswith("# Failed: Deployment 'demo' of endpoint 'e' failed: no capacity")
    assert "new 7" in text and "registered" in text
    assert "prefect flow-run retry 11111111" in text
    assert "docs/troubleshooting.md" in text


def test_a_refused_plan_says_that_nothing_was_created() -> None:
    text = as_markdown(report(outcome="failed", error="no quota", error_class="PlanRefused"))

    assert "Nothing was planned." in text and "Nothing was created, nothing is owed." in text
    assert "retry" not in text


def test_what_may_still_bill_comes_right_after_the_outcome() -> None:
    left = ["ENDPOINT 'e' MAY STILL RUN AND BILL: deleting it failed."]
    text = as_markdown(report(outcome="cancelled", plan=PLAN, job=JOB, left=left))

    assert text.startswith("# Cancelled")
    assert text.index("MAY STILL RUN AND BILL") < text.index("## Model and data")
    assert "fine-tune reap" in text


def test_a_kept_endpoint_says_until_when_it_bills() -> None:
    plan = plan_of(small("kept", endpoint={"keep": True, "keep_hours": 5}))
    text = as_markdown(report(plan=plan, job=JOB, trained=trained(), served=served(kept=True)))

    assert "it bills until the reaper deletes it after 5 hours" in text


def test_an_answer_cannot_write_into_the_page() -> None:
    bad = "<script>alert(1)</script> | # heading\n\n[x](javascript:alert(1)) ![y](http://z/p.png)"
    found = report(plan=PLAN, job=JOB, trained=trained(), served=served(bad))

    page = as_html(found)
    seen = _Seen()
    seen.feed(page)
    assert "script" not in seen.tags and "img" not in seen.tags
    assert "alert(1)" in page  # shown, as text
    assert [one for one in seen.links if not one.startswith("https://")] == []


def test_the_page_needs_no_other_file_and_draws_the_curve() -> None:
    page = as_html(whole())
    seen = _Seen()
    seen.feed(page)

    assert {"svg", "polyline", "table", "style"} <= set(seen.tags)
    assert {"link", "script", "img", "iframe"} & set(seen.tags) == set()
    assert page.count("<polyline") == 2


def test_the_data_is_the_same_when_it_is_read_again() -> None:
    found = whole()

    assert RunReport.model_validate_json(found.model_dump_json()) == found
    assert as_markdown(RunReport.model_validate_json(found.model_dump_json())) == as_markdown(found)


class _Seen(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.links: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.links += [value or "" for name, value in attrs if name == "href"]
