"""What a run is evaluated on, against what, and by which rules it is promoted, held or refused."""

from __future__ import annotations

import re
from typing import ClassVar, Literal

from pydantic import Field, field_validator

from finetuning.form.choice import Choice

#: How an answer is scored, from 0 to 1: docs/evaluation.md says what each is good for.
Metric = Literal["rouge_l", "chrf", "exact", "check"]
#: Whose answers the candidate's are compared with.
Compare = Literal["off", "kept"]
#: The two suites that every run has.
OWN, GENERAL = "own", "general"
SUITE_NAME = re.compile(r"[a-z][a-z0-9_-]{0,30}")


_METRIC = "How an answer is scored, from 0 to 1."
_IMPROVES = (
    "Promote only if the mean score improves by more than this, with the whole confidence interval "
    "above it. Empty or None: this suite does not have to improve."
)
_REGRESSES = "Do not promote if the mean score drops by more than this."


class SuiteRules(Choice):
    """How the answers to a suite are scored, and what the scores decide."""

    metric: Metric = Field("check", description=_METRIC)
    min_improvement: float | None = Field(None, ge=0, le=1, description=_IMPROVES)
    max_regression: float = Field(0.02, ge=0, le=1, description=_REGRESSES)
    floor: float | None = Field(
        None,
        ge=0,
        le=1,
        description="Refuse the model if its mean score is lower. Empty: no floor.",
    )


class OwnSuite(SuiteRules):
    """Questions from the dataset's test_gen, which is never trained on."""

    rows: int = Field(50, ge=0, le=2000, description="Number of questions. 0: skip this suite.")
    seed: int = Field(7, ge=0, description="Decides which rows are picked.")
    metric: Metric = Field("rouge_l", description=_METRIC)
    min_improvement: float | None = Field(0.0, ge=0, le=1, description=_IMPROVES)


class GeneralSuite(SuiteRules):
    """General knowledge that the training must not damage."""

    on: bool = Field(True, description="Use this suite.")
    file: str | None = Field(
        None, min_length=1, description="Your own JSON Lines file. Empty: the built-in suite."
    )
    max_regression: float = Field(0.05, ge=0, le=1, description=_REGRESSES)


class FileSuite(SuiteRules):
    """Your own suite."""

    file: str = Field(
        min_length=1,
        description="JSON Lines: a local path, az://container@account.blob.core.windows.net/path, "
        "or azureml://datastores/name/paths/path.",
    )


class EvaluationChoice(Choice):
    """Whether the new model is better than the current champion, and what follows from that."""

    first: ClassVar = ("compare",)

    compare: Compare = Field(
        "off",
        description="off: no evaluation. kept: the new model answers the suites, and its answers "
        "are compared with the champion's saved answers. The endpoint runs until it has answered.",
    )
    own: OwnSuite = Field(default_factory=OwnSuite, description="Questions from the dataset.")
    general: GeneralSuite = Field(default_factory=GeneralSuite, description="General knowledge.")
    suites: dict[str, FileSuite] = Field(
        default_factory=dict, description="Your own suites, by name."
    )
    confidence: float = Field(
        0.95, ge=0.5, le=0.999, description="Confidence level of the intervals."
    )
    max_empty: float = Field(
        0.05, ge=0, le=1, description="Refuse the model if a larger share of its answers is empty."
    )
    max_leaked: float = Field(
        0.05,
        ge=0,
        le=1,
        description="Refuse a suite if a larger share of its rows is in the training data. Fewer "
        "are left out.",
    )
    max_new_tokens: int = Field(
        200, ge=1, le=4096, description="Maximum length of an answer, in tokens."
    )
    concurrency: int = Field(
        4, ge=1, le=32, description="Number of questions asked at the same time."
    )
    crown: bool = Field(
        False,
        description="If the verdict is promote, make the new model the champion.",
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
