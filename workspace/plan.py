"""What a plan is: facts that the gates gathered, names that follow, findings, and the cost."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from workspace.cards import ModelCard
from workspace.declared import Declared, Value
from workspace.findings import Finding
from workspace.parameters import Parameter
from workspace.prices import Estimate, Nodes
from workspace.types import Foundation


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
    id: str | None = None
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
    """What the region offers and the workspace has. ``quotas`` by family, in lower case."""

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


class Names(Fact):
    """What a run creates is called so; all follow from the run."""

    job: str
    display_name: str
    experiment: str
    endpoint: str
    registered_name: str
    version: str


class Created(Fact):
    """One thing that the run would create, or find if an earlier try made it."""

    kind: str
    name: str
    detail: str = ""


class Plan(Fact):
    """Everything settled before the first thing is created."""

    model: Foundation
    component: str
    component_id: str
    parameters: dict[str, Value]
    origins: list[Parameter]
    training: Nodes
    gpus_per_node: int
    rows_per_step: int
    endpoint_nodes: Nodes
    finetune_sizes: list[str] | None
    inference_sizes: list[str] | None
    job: str
    display_name: str
    experiment: str
    endpoint: str
    registered_name: str
    version: str
    would_create: list[Created]
    estimate: Estimate | None
    budget: float | None
    findings: list[Finding]

    @property
    def max_seq_length(self) -> int | None:
        """Return the longest sequence in tokens, where one is set."""
        value = self.parameters.get("max_seq_length")
        return value if isinstance(value, int) and value > 0 else None


class Draft(Fact):
    """A plan with or without errors: what the report shows."""

    findings: list[Finding]
    parameters: list[Parameter] = Field(default_factory=list)
    would_create: list[Created] = Field(default_factory=list)
    estimate: Estimate | None = None
    budget: float | None = None
    plan: Plan | None = None

    def report(self) -> dict[str, Any]:
        """Return the draft as plain data for ``report.json``."""
        return {
            "findings": [one.model_dump() for one in self.findings],
            "parameters": [one.model_dump() for one in self.parameters],
            "would_create": [one.model_dump() for one in self.would_create],
            "estimate": _estimate(self.estimate, self.budget),
        }


def _estimate(found: Estimate | None, budget: float | None) -> dict[str, Any]:
    if found is None:
        return {"budget": budget}
    return {**found.model_dump(mode="json"), "total": found.total, "budget": budget}
