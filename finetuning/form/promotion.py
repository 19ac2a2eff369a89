"""How a model takes the traffic of a product endpoint: by steps, and back at the first doubt."""

from __future__ import annotations

import re
from itertools import pairwise
from typing import ClassVar, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from finetuning.azure.naming import ENDPOINT_RULE
from finetuning.form.choice import Choice

#: Whether a run ends with a promotion.
When = Literal["never", "ask", "if_better"]
#: Azure mirrors no more (MicrosoftDocs/azure-ai-docs: how-to-safely-rollout-online-endpoints.md).
MOST_MIRRORED = 50


class Rollout(Choice):
    """By which steps the new model takes the traffic, and what sends the traffic back."""

    endpoint: str | None = Field(
        None,
        description="The product endpoint's name: 3 to 32 letters, digits and hyphens. It stays "
        "the same for all versions. Empty: a name that belongs to the model.",
    )
    steps: list[int] = Field(
        default=[10, 50, 100],
        min_length=1,
        max_length=20,
        description="Percentages of the traffic that the new model takes, one after the other. "
        "The last is 100.",
    )
    dwell_minutes: float = Field(
        10, ge=0, le=24 * 60, description="How long each step is watched before the next."
    )
    mirror_percent: int = Field(
        0,
        ge=0,
        le=MOST_MIRRORED,
        description="Percentage of the traffic that is copied to the new model before it takes "
        "any. 0: none.",
    )
    probe_file: str | None = Field(
        None,
        min_length=1,
        description="The questions that watch each step, as a JSON Lines file like a suite's: a "
        "local path, az:// or azureml://datastores/. Empty: the run's suite, or the built-in one.",
    )
    probe_metric: Literal["rouge_l", "chrf", "exact", "check"] = Field(
        "check", description="How an answer to a probe of your own file is scored, from 0 to 1."
    )
    probe_rows: int = Field(
        20, ge=1, le=200, description="Number of questions that each step asks at least."
    )
    max_new_tokens: int = Field(
        200, ge=1, le=4096, description="Maximum length of an answer to a probe, in tokens."
    )
    max_error_rate: float = Field(
        0.02, ge=0, le=1, description="Return the traffic if a larger share of the probes fails."
    )
    max_slowdown: float = Field(
        1.5,
        ge=1,
        le=100,
        description="Return the traffic if the p95 latency is more than this many times that of "
        "the old model.",
    )
    max_drop: float = Field(
        0.05,
        ge=0,
        le=1,
        description="Return the traffic if the mean score of the probes is lower than that of the "
        "old model by more than this.",
    )
    keep_old_hours: float = Field(
        24,
        ge=0,
        le=24 * 30,
        description="How long the old model stays deployed without traffic. You pay for it.",
    )
    keep_days: float = Field(
        90,
        gt=0,
        le=366,
        description="Days until the endpoint expires; each promotion counts anew. An expired one "
        "that has traffic is reported, never deleted.",
    )

    @field_validator("endpoint")
    @classmethod
    def _within_azures_rules(cls, name: str | None) -> str | None:
        if name is not None and not re.match(ENDPOINT_RULE, name):
            raise ValueError(
                f"'{name}': an endpoint's name is 3 to 32 letters, digits and hyphens, "
                "begins with a letter and does not end with a hyphen"
            )
        return name

    @field_validator("steps")
    @classmethod
    def _rise_to_a_hundred(cls, steps: list[int]) -> list[int]:
        rises = all(before < after for before, after in pairwise(steps))
        if not rises or steps[0] < 1 or steps[-1] != 100:
            raise ValueError(f"{steps}: the steps rise to 100, for example 10, 50, 100")
        return steps


class PromotionChoice(Rollout):
    """Whether the new model takes the traffic of the product endpoint."""

    first: ClassVar = ("when", "endpoint")

    when: When = Field(
        "never",
        description="never: nothing takes traffic. if_better: a model with the verdict promote "
        "does. ask: a person decides in Prefect's UI.",
    )

    @property
    def on(self) -> bool:
        """Whether the run may end with a promotion."""
        return self.when != "never"


class Watched(BaseModel):
    """What the probes saw of one deployment during a step; seconds at p95."""

    model_config = ConfigDict(frozen=True)

    asked: int = 0
    failed: int = 0
    p95: float = 0.0
    score: float = 0.0

    @property
    def error_rate(self) -> float:
        """Return the share of the probes that failed."""
        return self.failed / self.asked if self.asked else 0.0


class StepReport(BaseModel):
    """One step of a promotion: its share of the traffic (percent), and what both did."""

    model_config = ConfigDict(frozen=True)

    step: str
    percent: int
    candidate: Watched
    old: Watched | None = None


Outcome = Literal["promoted", "returned", "already there"]


class Promoted(BaseModel):
    """How a promotion ended: ``returned`` has all the traffic on the old deployment again.

    ``return_seconds``: from the failing look until the old one had all of it.
    """

    model_config = ConfigDict(frozen=True)

    outcome: Outcome
    why: str
    endpoint: str
    model: str
    version: str
    serving: str = ""
    previous: str = ""
    steps: list[StepReport] = Field(default_factory=list)
    return_seconds: float | None = None

    @model_validator(mode="after")
    def _says_why(self) -> Promoted:
        if self.outcome == "returned" and not self.why:
            raise ValueError("a return has a reason")
        return self
