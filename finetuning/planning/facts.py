"""The facts that the gates bring back from Azure: plain data, nothing decided."""

from __future__ import annotations

from datetime import datetime

from pydantic import BaseModel, ConfigDict, Field

from finetuning.conversations.survey import Survey
from finetuning.evaluation.suites import Suite
from finetuning.form.results import Foundation
from finetuning.planning.declared import Declared
from finetuning.planning.findings import Finding
from finetuning.planning.model_card import ModelCard


class Fact(BaseModel):
    """Plain data that a gate hands on."""

    model_config = ConfigDict(frozen=True)


class CredentialFacts(Fact):
    """Which credential answered, for whom, until when."""

    kind: str
    principal: str
    expires: datetime
    location: str
    findings: list[Finding] = Field(default_factory=list)


class ModelFacts(Fact):
    """The foundation model, pinned, and what its card says; without either it is not there."""

    foundation: Foundation | None = None
    card: ModelCard = ModelCard()
    findings: list[Finding] = Field(default_factory=list)


class ComponentFacts(Fact):
    """The pipeline component, pinned, and its declared inputs."""

    version: str | None = None
    declared: dict[str, Declared] = Field(default_factory=dict)
    findings: list[Finding] = Field(default_factory=list)


class NodeSize(Fact):
    """A VM size as the region lists it; memory and disk in GB."""

    name: str
    family: str
    vcpus: int
    gpus: int
    memory_gb: float
    disk_gb: float


class Quota(Fact):
    """vCPUs of one family (or of low-priority nodes): in use, and allowed."""

    used: int
    limit: int

    @property
    def free(self) -> int:
        """Return how many are left."""
        return max(0, self.limit - self.used)


class ClusterFacts(Fact):
    """A cluster that exists."""

    name: str
    state: str
    size: str
    low_priority: bool
    max_nodes: int
    idle_seconds: int | None
    reason: str = ""


class ComputeFacts(Fact):
    """What the region offers and the workspace has. ``quotas`` by Azure's names, in lower case."""

    clusters: dict[str, ClusterFacts] = Field(default_factory=dict)
    sizes: dict[str, NodeSize] = Field(default_factory=dict)
    quotas: dict[str, Quota] = Field(default_factory=dict)
    findings: list[Finding] = Field(default_factory=list)

    def size(self, name: str) -> NodeSize | None:
        """Return a size by its name, in whatever case."""
        return self.sizes.get(name.lower())


class EndpointFacts(Fact):
    """Whether the endpoint's name is in use here, and by which run."""

    taken: bool = False
    run_key: str | None = None
    state: str = ""
    findings: list[Finding] = Field(default_factory=list)


class SplitFacts(BaseModel):
    """A split: the rows that the run would train or test on, and the survey of some or all."""

    model_config = ConfigDict(frozen=True)

    name: str
    rows: int
    survey: Survey

    @property
    def complete(self) -> bool:
        """Whether every row was looked at."""
        return self.survey.rows >= self.rows

    @property
    def tokens(self) -> float:
        """Return the split's tokens, scaled up from what was looked at."""
        return self.survey.tokens_per_row * self.rows


class SuiteFacts(Fact):
    """The suites that are files, read whole; a broken one is missing, with the reason."""

    suites: list[Suite] = Field(default_factory=list)
    findings: list[Finding] = Field(default_factory=list)


class Facts(BaseModel):
    """What the gates brought back; None where one could not look, with the reason in findings."""

    model_config = ConfigDict(frozen=True)

    credential: CredentialFacts | None = None
    model: ModelFacts | None = None
    component: ComponentFacts | None = None
    compute: ComputeFacts | None = None
    endpoint: EndpointFacts | None = None
    splits: dict[str, SplitFacts] | None = None
    suites: SuiteFacts | None = None
    findings: list[Finding] = Field(default_factory=list)
