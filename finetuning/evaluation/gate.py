"""The gate: from two models' answers to one verdict, by rules that can be asked why.

- **refuse**: the model must not serve. Too many empty answers, a mean below a suite's floor, or a
  mean that fell by more than ``max_regression`` with the whole interval below nothing.
- **hold**: nothing is proven. A suite that must improve does not by its whole interval, one fell by
  more than it may though that may be chance, or too few rows could be compared.
- **promote**: neither, and at least one suite that must improve did.
"""

from __future__ import annotations

from typing import NamedTuple

from finetuning.evaluation.answers import Answers, manner_of
from finetuning.evaluation.intervals import compare
from finetuning.evaluation.metrics import score
from finetuning.evaluation.suites import Row, Suite
from finetuning.form.evaluation import EvaluationChoice, SuiteRules
from finetuning.form.verdict import (
    Contender,
    Decision,
    Difference,
    Manner,
    RowScore,
    SuiteResult,
    Verdict,
)

#: From the worst; the worst of the suites' decisions is the verdict's.
DECISIONS: tuple[Decision, ...] = ("refuse", "hold", "promote")
#: Fewer rows than this prove nothing: below it the intervals are too narrow (docs/evaluation.md).
LEAST_ROWS = 20


class Ruling(NamedTuple):
    """What one suite's rules make of its scores, and why in a sentence."""

    decision: Decision
    why: str


class Answering(NamedTuple):
    """A suite, and what both models answered to its rows; the champion maybe not to all."""

    suite: Suite
    candidate: Answers
    champion: Answers


def decide(
    answerings: list[Answering],
    candidate: Contender,
    champion: Contender,
    choice: EvaluationChoice,
) -> Verdict:
    """Return the verdict; ``answerings`` hold a candidate's answer to every row.

    The same answers give the same verdict: the bootstrap's seed is fixed.
    """
    suites = [judge(one, choice, str(champion)) for one in answerings]
    worst = min((one.decision for one in suites), key=DECISIONS.index, default="hold")
    deciding = [f"{one.suite}: {one.why}" for one in suites if one.decision == worst]
    if worst == "promote" and all(one.rules.min_improvement is None for one in suites):
        worst, deciding = "hold", ["no suite has a min_improvement, so nothing had to improve"]
    return Verdict(
        decision=worst,
        why="; ".join(deciding) or "no suite was asked",
        candidate=candidate,
        champion=champion,
        confidence=choice.confidence,
        suites=suites,
    )


def judge(answering: Answering, choice: EvaluationChoice, champion: str) -> SuiteResult:
    """Return what one suite says."""
    suite, longest = answering.suite, choice.max_new_tokens
    rows = [_scored(row, answering) for row in suite.rows]
    paired = [one for one in rows if one.champion_score is not None]
    theirs = [answering.champion[one.id] for one in paired]
    mean = sum(one.candidate_score for one in rows) / len(rows)
    difference = _difference(paired, choice.confidence) if len(paired) >= LEAST_ROWS else None
    manner = manner_of([answering.candidate[one.id] for one in rows], longest)
    ruling = (
        _unfit(suite.rules, manner, mean, choice.max_empty)
        or (difference and rule(suite.rules, difference))
        or Ruling("hold", f"{len(paired)} of {len(rows)} rows are answered by {champion} too, "
                  f"and {LEAST_ROWS} are needed")
    )  # fmt: skip
    return SuiteResult(
        suite=suite.name,
        digest=suite.digest,
        rules=suite.rules,
        leaked=suite.leaked,
        mean=mean,
        difference=difference,
        candidate=manner,
        champion=manner_of(theirs, longest) if theirs else None,
        decision=ruling.decision,
        why=ruling.why,
        rows=sorted(rows, key=lambda one: (one.change is None, one.change or 0.0)),
    )


def _scored(row: Row, answering: Answering) -> RowScore:
    metric = answering.suite.rules.metric
    ours, theirs = answering.candidate[row.id].text, answering.champion.get(row.id)
    return RowScore(
        id=row.id,
        question=row.question,
        wanted=row.wanted,
        candidate=ours,
        candidate_score=score(metric, row, ours),
        champion=theirs.text if theirs else None,
        champion_score=score(metric, row, theirs.text) if theirs else None,
    )


def _difference(rows: list[RowScore], confidence: float) -> Difference:
    ours = [one.candidate_score for one in rows]
    return compare(ours, [one.champion_score or 0.0 for one in rows], confidence)


def _unfit(rules: SuiteRules, manner: Manner, mean: float, max_empty: float) -> Ruling | None:
    """Refuse what no comparison could mend."""
    if manner.empty > max_empty * manner.answers:
        return Ruling("refuse", f"{manner.empty} of {manner.answers} answers are empty")
    if rules.floor is not None and mean < rules.floor:
        return Ruling("refuse", f"its mean {mean:.3f} is below the floor {rules.floor:g}")
    return None


def rule(rules: SuiteRules, found: Difference) -> Ruling:
    """Return what a suite's rules make of a difference."""
    if found.mean < -rules.max_regression:
        fell = f"it fell by {-found.mean:.3f} {interval(found)}"
        fell += f", by more than {rules.max_regression:g}"
        if found.high < 0:
            return Ruling("refuse", fell)
        return Ruling("hold", f"{fell}, which may be chance")
    changed = f"it changed by {found.mean:+.3f} {interval(found)}"
    if rules.min_improvement is None:
        return Ruling("promote", f"{changed}, no more than it may fall")
    if found.low > rules.min_improvement:
        return Ruling("promote", f"{changed}, all of it above {rules.min_improvement:g}")
    return Ruling("hold", f"{changed}, not all of it above {rules.min_improvement:g}")


def interval(found: Difference) -> str:
    """Return the interval as text."""
    return f"[{found.low:+.3f}, {found.high:+.3f}]"
