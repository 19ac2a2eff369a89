"""The verdict on a model, as plain data: what the run's result holds, and its report is made of."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict

from finetuning.form.evaluation import SuiteRules

Decision = Literal["promote", "hold", "refuse"]


class Difference(BaseModel):
    """Candidate minus champion: the mean over the rows, and its interval."""

    model_config = ConfigDict(frozen=True)

    rows: int
    candidate: float
    champion: float
    mean: float
    low: float
    high: float


class Manner(BaseModel):
    """How a model answered a suite: counts, and seconds of a request at two percentiles."""

    model_config = ConfigDict(frozen=True)

    answers: int
    empty: int
    cut: int
    p50: float
    p95: float


class Contender(BaseModel):
    """A version of a model of the workspace, and what it is to the other."""

    model_config = ConfigDict(frozen=True)

    id: str
    name: str
    version: str
    role: Literal["candidate", "champion"]

    def __str__(self) -> str:
        return f"{self.role} {self.name}:{self.version}"


class RowScore(BaseModel):
    """One row: what was asked, wanted and answered, and the scores; None: not answered."""

    model_config = ConfigDict(frozen=True)

    id: str
    question: str
    wanted: str
    candidate: str
    candidate_score: float
    champion: str | None = None
    champion_score: float | None = None

    @property
    def change(self) -> float | None:
        """Return by how much the candidate's score is above the champion's."""
        if self.champion_score is None:
            return None
        return self.candidate_score - self.champion_score


class SuiteResult(BaseModel):
    """One suite: figures, decision, and every row, worst regressions first."""

    model_config = ConfigDict(frozen=True)

    suite: str
    digest: str
    rules: SuiteRules
    leaked: int
    mean: float
    difference: Difference | None
    candidate: Manner
    champion: Manner | None
    decision: Decision
    why: str
    rows: list[RowScore]


class Verdict(BaseModel):
    """Whether the candidate takes the champion's place, and what decided it."""

    model_config = ConfigDict(frozen=True)

    decision: Decision
    why: str
    candidate: Contender
    champion: Contender
    confidence: float
    suites: list[SuiteResult]

    def shortened(self, rows: int) -> Verdict:
        """Return the verdict with so many rows of each suite at most: the worst and the best."""
        suites = [one.model_copy(update={"rows": _ends(one.rows, rows)}) for one in self.suites]
        return self.model_copy(update={"suites": suites})


def _ends(rows: list[RowScore], most: int) -> list[RowScore]:
    """Return the first and the last rows, so many in all at most."""
    if len(rows) <= most:
        return rows
    last = most // 2
    return rows[: most - last] + rows[len(rows) - last :]
