"""Whether the suites can decide anything, and what asking them costs."""

from __future__ import annotations

from finetuning.evaluation.gate import LEAST_ROWS
from finetuning.evaluation.suites import Suite
from finetuning.form.evaluation import OWN, EvaluationChoice
from finetuning.planning.facts import SplitFacts
from finetuning.planning.findings import Report


def check_evaluation(
    choice: EvaluationChoice, suites: list[Suite], asked: SplitFacts | None, report: Report
) -> None:
    """Say what speaks against the evaluation; ``asked`` is the split that ``own`` is taken from."""
    rows = asked_rows(choice, suites, asked)
    if not rows:
        report.error(
            "The run is to be evaluated, but it has no suite.",
            "Set run.evaluation.own.rows or a suite, or run.evaluation.compare to off.",
        )
    for name, count in rows.items():
        if count < LEAST_ROWS:
            report.warn(
                f"Suite '{name}' has {count} rows. Fewer than {LEAST_ROWS} prove nothing, so the "
                "verdict will be hold.",
                "Add rows, or use a larger percentage of the data.",
            )
    report.note(
        f"The endpoint answers {sum(rows.values())} questions of up to {choice.max_new_tokens} "
        f"tokens, {choice.concurrency} at a time, before it is deleted. Budget and estimate "
        "include that time. The champion's saved answers are used, so it is not deployed again."
    )


def asked_rows(
    choice: EvaluationChoice, suites: list[Suite], asked: SplitFacts | None
) -> dict[str, int]:
    """Return how many rows of each suite are asked."""
    rows = {suite.name: len(suite.rows) for suite in suites}
    if choice.own.rows:
        there = asked.rows if asked is not None else choice.own.rows
        rows[OWN] = min(choice.own.rows, there)
    return rows
