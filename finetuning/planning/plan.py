"""What a run will do, settled before the first thing is created, and the report of it."""

from __future__ import annotations

from typing import Any

from pydantic import Field

from finetuning.evaluation.suites import Suite
from finetuning.form.data import DataChoice
from finetuning.form.evaluation import EvaluationChoice
from finetuning.form.promotion import PromotionChoice
from finetuning.form.results import Foundation
from finetuning.form.run import (
    ComputeChoice,
    EndpointChoice,
    Hopeless,
    HopelessChoice,
    RecoveryChoice,
    Scalar,
    TestChoice,
    Waiting,
)
from finetuning.planning.candidates import Candidate
from finetuning.planning.facts import Fact
from finetuning.planning.findings import Finding
from finetuning.planning.lifecycle import Ending
from finetuning.planning.parameters import Parameter
from finetuning.planning.prices import Estimate, Nodes


class JobPlan(Fact):
    """The pipeline job: its names, the pinned component, and all that it is given but files."""

    name: str
    display_name: str
    experiment: str
    component: str
    model: Foundation
    model_ends: Ending | None = Field(None, description="When the model retires, where known.")
    parameters: dict[str, Scalar]
    nodes: Nodes
    gpus_per_node: int
    rows_per_step: int
    asked: dict[str, str] = Field(description="Tags that say what the run's key stands for.")

    @property
    def max_seq_length(self) -> int | None:
        """Return the longest sequence in tokens, where one is set."""
        value = self.parameters.get("max_seq_length")
        return value if isinstance(value, int) and value > 0 else None


class ComputePlan(Fact):
    """The cluster as it was chosen, and the sizes that the model allows (None: it does not say)."""

    choice: ComputeChoice
    allowed: list[str] | None


class Registration(Fact):
    """The name and version under which the fine-tuned model is registered."""

    name: str
    version: str


class Serving(Fact):
    """The endpoint, its deployment as it was chosen, and the nodes that bill."""

    endpoint: str
    choice: EndpointChoice
    nodes: Nodes


class EvaluationPlan(Fact):
    """What the model is asked and by which rules it is judged; ``own`` follows from the data."""

    choice: EvaluationChoice
    suites: list[Suite]


class RecoveryPlan(Fact):
    """How a job that failed may be repeated.

    ``batch`` and ``accumulation`` are what the first attempt trains with; ``declared`` are those of
    the component's inputs that a remedy would set.
    """

    choice: RecoveryChoice = RecoveryChoice()
    batch: int = 1
    accumulation: int = 1
    declared: list[str] = Field(default_factory=list)


class Plan(Fact):
    """Everything settled before the first thing is created."""

    recipe: str
    data: DataChoice = Field(description="With a dataset's branch resolved to its commit.")
    content: str | None = Field(None, description="Digest of what the data's source held then.")
    compute: ComputePlan
    job: JobPlan
    registration: Registration
    serving: Serving
    test: TestChoice
    evaluation: EvaluationPlan | None = None
    promotion: PromotionChoice | None = None
    approve: list[str] = Field(default_factory=list, description="What a person approves.")
    approve_hours: float = Field(24, description="Hours until a question counts as refused.")
    waiting: Waiting
    stop_when: list[Hopeless] = Field(
        default_factory=list, description="Of what a training is cancelled."
    )
    hopeless: HopelessChoice = HopelessChoice()
    recovery: RecoveryPlan = RecoveryPlan()
    estimate: Estimate | None
    budget: float | None = Field(description="The most that may be spent. None: no limit.")
    default_budget: bool = Field(False, description="Nobody chose the budget.")


class Created(Fact):
    """One thing that the run would create, or find if an earlier try made it."""

    kind: str
    name: str
    detail: str = ""


class PlanReport(Fact):
    """What the gates found and what would be created; without an error it holds the plan."""

    findings: list[Finding]
    parameters: list[Parameter] = Field(default_factory=list)
    would_create: list[Created] = Field(default_factory=list)
    candidates: list[Candidate] = Field(default_factory=list)
    estimate: Estimate | None = None
    budget: float | None = None
    default_budget: bool = False
    plan: Plan | None = None

    def as_data(self) -> dict[str, Any]:
        """Return the report as plain data for ``report.json``."""
        return {
            "findings": [finding.model_dump() for finding in self.findings],
            "parameters": [parameter.model_dump() for parameter in self.parameters],
            "would_create": [created.model_dump() for created in self.would_create],
            "candidates": [candidate.model_dump() for candidate in self.candidates],
            "estimate": _estimate(self.estimate, self.budget),
        }


def _estimate(estimate: Estimate | None, budget: float | None) -> dict[str, Any]:
    if estimate is None:
        return {"budget": budget}
    return {**estimate.model_dump(mode="json"), "total": estimate.total, "budget": budget}
