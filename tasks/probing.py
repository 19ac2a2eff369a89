"""Probes: candidate and old deployment are asked the same, in turn, for as long as a step lasts."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field

from prefect import get_run_logger

from finetuning.azure.product import Product
from finetuning.azure.scoring import Scoring, open_scoring
from finetuning.azure.settings import Settings
from finetuning.errors import CandidateFailed
from finetuning.evaluation.metrics import score
from finetuning.evaluation.suites import Row
from finetuning.form.promotion import StepReport, Watched
from finetuning.planning.promotion import Stage, Target, fault_of
from finetuning.recipes import find_recipe
from tasks.waiting import Patience

#: The longest pause between two rounds of probes, in seconds.
PAUSE_S = 5.0
#: Failed probes that end a step at once; fewer may be chance until the step is over.
SURE = 2


def dwelling(target: Target, spending: Callable[[], None] | None) -> Patience:
    """Return the patience for one step: a round of probes at least every five seconds."""
    rules, rows = target.rules, target.rows
    dwell = rules.dwell_minutes * 60
    slowest = target.choice.request_timeout_ms / 1000
    return Patience(
        deadline=dwell + 2 * slowest * len(rows),
        interval=min(PAUSE_S, dwell / len(rows)),
        outage=dwell,
        parameter="promotion.dwell_minutes",
        guard=spending,
    )


@dataclass
class _Seen:
    """What one deployment did during a step."""

    failed: int = 0
    seconds: list[float] = field(default_factory=list)
    scores: dict[str, float] = field(default_factory=dict)

    def watched(self) -> Watched:
        import numpy as np

        return Watched(
            asked=self.failed + len(self.seconds),
            failed=self.failed,
            p95=float(np.percentile(self.seconds, 95)) if self.seconds else 0.0,
            score=sum(self.scores.values()) / len(self.scores) if self.scores else 0.0,
        )


class Probing:
    """Asks candidate and old deployment the same rows, in turn, for one step."""

    def __init__(self, settings: Settings, target: Target, product: Product, stage: Stage) -> None:
        self.target, self.product, self.stage = target, product, stage
        self.rows, self.recipe = target.rows, find_recipe(target.recipe)
        self.began, self.rounds = time.monotonic(), 0
        names = [name for name in (product.candidate, product.serving) if name]
        young = not (stage.percent or stage.mirrored)
        self.seen = {name: _Seen() for name in names}
        self.scoring = {
            name: open_scoring(settings, target.endpoint, name, patient=young) for name in names
        }

    def round(self) -> int:
        """Ask both deployments one row; return how many rounds there were.

        Raises:
            CandidateFailed: the candidate's failures are more than chance.
        """
        row = self.rows[self.rounds % len(self.rows)]
        for name, seen in self.seen.items():
            self._ask(self.scoring[name], row, seen)
        self.rounds += 1
        ours = self.seen[self.product.candidate].watched()
        if ours.failed >= SURE and ours.error_rate > self.target.rules.max_error_rate:
            raise self._failed(f"{ours.failed} of {ours.asked} probes failed.")
        return self.rounds

    def _ask(self, scoring: Scoring, row: Row, seen: _Seen) -> None:
        from azure.core.exceptions import AzureError

        try:
            text, seconds = scoring.ask(self.recipe.request(row.messages, self.target.sampling))
            said = self.recipe.answer(text)
        except (AzureError, ValueError, KeyError, TypeError) as error:
            get_run_logger().warning("a probe failed: %s", str(error).splitlines()[:1])
            seen.failed += 1
            return
        seen.seconds.append(seconds)
        seen.scores[row.id] = score(self.target.probes.rules.metric, row, said)

    def over(self, rounds: int, dwell: float) -> bool:
        """Return whether every row was asked and the dwell time has passed."""
        return rounds >= len(self.rows) and time.monotonic() - self.began >= dwell

    def judged(self) -> StepReport:
        """Return what was seen.

        Raises:
            CandidateFailed: it is not good enough to go on.
        """
        old = self.seen.get(self.product.serving)
        report = StepReport(
            step=self.stage.name,
            percent=self.stage.percent,
            candidate=self.seen[self.product.candidate].watched(),
            old=old.watched() if old is not None else None,
        )
        why = fault_of(report, self.target.rules)
        if why is not None:
            raise self._failed(why)
        get_run_logger().info("%s: %s", self.stage.name, report.candidate)
        return report

    def _failed(self, why: str) -> CandidateFailed:
        return CandidateFailed(self.target.endpoint, self.product.candidate, self.stage.name, why)
