"""What a run will do, settled before the first thing is created, and the report of it."""

from __future__ import annotations

from typing import Any

from pydantic import Field

from finetuning.form.results import Foundation
from finetuning.planning.declared import Value
from finetuning.planning.facts import Fact
from finetuning.planning.findings import Finding
from finetuning.planning.parameters import Parameter
from finetuning.planning.prices import Estimate, Nodes


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


class PlanReport(Fact):
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
