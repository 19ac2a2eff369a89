"""What a run is evaluated on, against what, and by which rules it is promoted, held or refused."""

from __future__ import annotations

import re
from typing import Literal

from pydantic import Field, field_validator

from finetuning.form.choice import Choice

#: How an answer is scored, from 0 to 1: docs/evaluation.md says what each is good for.
Metric = Literal["rouge_l", "chrf", "exact", "check"]
#: Whose answers the candidate's are compared with.
Compare = Literal["off", "kept"]
#: The two suites that every run has.
OWN, GENERAL = "own", "general"
SUITE_NAME = re.compile(r"[a-z][a-z0-9_-]{0,30}")


class SuiteRules(Choice):
    """How one suite's answers are scored, and what its scores decide. Scores are 0 to 1."""

    metric: Metric = Field("check", description="How an answer is scored, from 0 to 1.")
    min_improvement: float | None = Field(
        None,
        ge=0,
        le=1,
        description="Promote only if the mean improves by more than this, by its whole interval. "
        "Empty: this suite need not improve.",
    )
    max_regression: float = Field(
        0.02, ge=0, le=1, description="Most that the mean may fall before nothing is promoted."
    )
    floor: float | None = Field(
        None, ge=0, le=1, description="Refuse a model whose mean is below this."
    )


class OwnSuite(SuiteRules):
    """Rows of the dataset's test_gen, which no training has seen."""

    rows: int = Field(50, ge=0, le=2000, description="Rows of test_gen. 0: without this suite.")
    seed: int = Field(7, ge=0, description="Decides which rows.")
    metric: Metric = Field("rouge_l", description="How an answer is scored, from 0 to 1.")
    min_improvement: float | None = Field(
        0.0,
        ge=0,
        le=1,
        description="Promote only if the mean improves by more than this, by its whole interval. "
        "Empty: this suite need not improve.",
    )


class GeneralSuite(SuiteRules):
    """What must not be forgotten: a small suite comes along, a team brings its own."""

    on: bool = Field(True, description="Ask this suite.")
    file: str | None = Field(
        None, min_length=1, description="JSON Lines file of your own. Empty: the one that is here."
    )
    max_regression: float = Field(
        0.05, ge=0, le=1, description="Most that the mean may fall before nothing is promoted."
    )


class FileSuite(SuiteRules):
    """A suite of your own."""

    file: str = Field(
        min_length=1,
        description="JSON Lines: a local path, az://container@account.blob.core.windows.net/path, "
        "or azureml://datastores/name/paths/path.",
    )


class EvaluationChoice(Choice):
    """Whether the fine-tuned model is better than the one to beat, and what follows from it."""

    compare: Compare = Field(
        "off",
        description="off: no evaluation. kept: the deployed model answers the suites and is "
        "compared with the answers that are kept of the champion; no deployment more, but the "
        "endpoint lives until it has answered.",
    )
    own: OwnSuite = Field(default_factory=OwnSuite, description="Rows of the dataset's own.")
    general: GeneralSuite = Field(
        default_factory=GeneralSuite, description="What must not be forgotten."
    )
    suites: dict[str, FileSuite] = Field(default_factory=dict, description="More suites, by name.")
    confidence: float = Field(
        0.95, ge=0.5, le=0.999, description="Of the intervals of the mean differences."
    )
    max_empty: float = Field(
        0.05, ge=0, le=1, description="Share of empty answers above which a model is refused."
    )
    max_leaked: float = Field(
        0.05,
        ge=0,
        le=1,
        description="Share of a suite's rows that are in the training data above which the suite "
        "is refused; fewer are left out.",
    )
    max_new_tokens: int = Field(200, ge=1, le=4096, description="Longest answer, in tokens.")
    concurrency: int = Field(4, ge=1, le=32, description="Questions asked at once.")
    crown: bool = Field(
        False,
        description="Where the verdict is promote, give the model the tag of the champion, and "
        "take it from the last one.",
    )

    @field_validator("suites")
    @classmethod
    def _names_are_free(cls, suites: dict[str, FileSuite]) -> dict[str, FileSuite]:
        taken = sorted({OWN, GENERAL} & set(suites))
        if taken:
            raise ValueError(f"'{taken[0]}' is a suite that every run has: set run.evaluation's")
        for name in suites:
            if not SUITE_NAME.fullmatch(name):
                raise ValueError(
                    f"'{name}': a suite's name is 1 to 31 of a-z, 0-9, '-' and '_', letter first"
                )
        return suites

    @property
    def on(self) -> bool:
        """Whether the run is evaluated at all."""
        return self.compare != "off"

    @property
    def sampling(self) -> dict[str, int | float | bool]:
        """Return the parameters of a request: always the likeliest token."""
        return {
            "temperature": 0.0,
            "top_p": 1.0,
            "do_sample": False,
            "max_new_tokens": self.max_new_tokens,
        }
