"""What the steps of a run bring back: plain data."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from pydantic import BaseModel, Field

from finetuning.form.data import PreparedData
from finetuning.form.promotion import Promoted
from finetuning.form.run import Scalar
from finetuning.form.verdict import Verdict


class Foundation(BaseModel):
    """The foundation model, pinned for the whole run."""

    name: str
    version: str
    id: str
    type: str = Field("mlflow_model", description="mlflow_model or custom_model, by its registry.")
    tags: dict[str, str] = Field(default_factory=dict)
    properties: dict[str, Any] = Field(default_factory=dict)


class SubmittedJob(BaseModel):
    """A job that Azure has, whether this try submitted it or an earlier one.

    ``begun``: when the first of the attempts was submitted that recover from each other.
    ``changes``: parameters in which it differs from the plan; ``cause``: why the one before failed.
    """

    name: str
    status: str
    studio_url: str
    adopted: bool
    created: datetime | None = None
    begun: datetime | None = None
    cause: str = ""
    changes: dict[str, Scalar] = Field(default_factory=dict)

    def age(self, now: datetime) -> float:
        """Return the seconds since Azure took the first attempt; 0 where it does not say."""
        since = self.begun or self.created
        return max(0.0, (now - since).total_seconds()) if since else 0.0


class Remedy(BaseModel):
    """What another attempt is to do otherwise than the plan, after which job, and why."""

    after: str
    cause: str
    changes: dict[str, Scalar] = Field(default_factory=dict)


class Attempt(BaseModel):
    """One of a run's jobs: how it ended, why it followed another, and what it did otherwise."""

    job: str
    status: str
    cause: str = Field("", description="Why the attempt before it failed. Empty: the first.")
    changes: dict[str, Scalar] = Field(default_factory=dict)


class Metrics(BaseModel):
    """What the training reported: final values, and the curves by step."""

    final: dict[str, float]
    curves: dict[str, list[tuple[int, float]]]

    @property
    def loss_first(self) -> float | None:
        """Return the training loss at the first logged step."""
        return self.curves["loss"][0][1] if self.curves.get("loss") else None

    @property
    def loss_last(self) -> float | None:
        """Return the training loss at the last logged step."""
        return self.curves["loss"][-1][1] if self.curves.get("loss") else None


class RegisteredModel(BaseModel):
    """The fine-tuned model in the workspace."""

    name: str
    version: str
    id: str
    adopted: bool


class Answer(BaseModel):
    """One question of test_gen, the dataset's reference, and what the endpoint said."""

    question: str
    reference: str
    answer: str


class Trained(BaseModel):
    """The half that trains: what came of it, registered and not yet served."""

    model: Foundation
    cluster: str | None
    data: PreparedData
    parameters: dict[str, Scalar]
    job: SubmittedJob
    attempts: list[Attempt] = Field(default_factory=list)
    metrics: Metrics
    registered: RegisteredModel


class Served(BaseModel):
    """The half that serves: where the model answered, and what."""

    endpoint: str
    endpoint_kept: bool
    answers: list[Answer]


class Judged(BaseModel):
    """What a run knows before it asks whether its model may take traffic."""

    served: Served
    verdict: Verdict | None


class Result(Trained):
    """What a run leaves behind, as data; without an endpoint it was trained and not served."""

    endpoint: str | None = None
    endpoint_kept: bool = False
    answers: list[Answer] = Field(default_factory=list)
    verdict: Verdict | None = Field(None, description="None: the run was not evaluated.")
    promotion: Promoted | None = Field(None, description="None: the model was not to be promoted.")
