"""What the steps of a run bring back: plain data."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from pydantic import BaseModel, Field

from finetuning.form.data import PreparedData
from finetuning.form.run import Scalar


class Connected(BaseModel):
    """The workspace that answered, and as whom we are known there."""

    workspace: str
    location: str
    registry: str
    tracking_uri: str
    credential: str


class Foundation(BaseModel):
    """The foundation model, pinned for the whole run."""

    name: str
    version: str
    id: str
    tags: dict[str, str] = Field(default_factory=dict)
    properties: dict[str, Any] = Field(default_factory=dict)


class Cluster(BaseModel):
    """The cluster that the fine-tune runs on."""

    name: str
    size: str
    tier: str
    gpus_per_node: int
    max_nodes: int
    created: bool


class SubmittedJob(BaseModel):
    """A job that Azure has, whether this try submitted it or an earlier one."""

    name: str
    status: str
    studio_url: str
    adopted: bool
    created: datetime | None = None

    def age(self, now: datetime) -> float:
        """Return the seconds since Azure took the job; 0 where it does not say."""
        return max(0.0, (now - self.created).total_seconds()) if self.created else 0.0


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


class Result(BaseModel):
    """What a run leaves behind, as data."""

    model: Foundation
    cluster: Cluster
    data: PreparedData
    parameters: dict[str, Scalar]
    job: SubmittedJob
    metrics: Metrics
    registered: RegisteredModel
    endpoint: str
    endpoint_kept: bool
    answers: list[Answer]
