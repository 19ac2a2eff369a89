"""Why a job failed, and what may be done about it: a table, and pure functions of it.

An error of Azure ML's is a code and a text, of which the compute's own begins ``AzureMLCompute job
failed.`` and a code of its own; a step that a program ended badly brings the program's last words,
and has a log. What no line of the table knows is permanent: to repeat it could only cost.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

from finetuning.form.run import Scalar

Cause = Literal[
    "preempted", "node lost", "out of memory", "unreadable checkpoint", "transient", "permanent"
]

#: An error of Azure's in which this code is told of a job that stopped responding for too long.
NOT_RESPONDING = "NotResponding"
#: How often a batch is halved in one run: what does not fit then has another cause.
MOST_HALVED = 2


class Evidence(NamedTuple):
    """What is known of a step that failed: the service's error, and the end of the step's log."""

    error: str
    log: str = ""


@dataclass(frozen=True)
class Rule:
    """A text by which a cause is known, whether the service says it or the step's log, and source.

    What the service says counts first: a program may print anything.
    """

    cause: Cause
    pattern: str
    source: str
    in_log: bool = False

    def knows(self, evidence: Evidence) -> bool:
        """Whether the evidence has the text."""
        texts = (evidence.error, evidence.log) if self.in_log else (evidence.error,)
        return any(re.search(self.pattern, text) for text in texts)


RULES = (
    Rule("preempted", r"\bPreemptionError\b", "github.com/MicrosoftDocs/azure-docs/issues/66288"),
    Rule("node lost", rf"^{NOT_RESPONDING}\b", "azure-ai-ml: JobStatus.NotResponding"),
    Rule(
        "out of memory",
        r"CUDA out of memory|\bOutOfMemoryError\b",
        "torch: c10/cuda/CUDACachingAllocator.cpp",
        in_log=True,
    ),
    Rule(
        "unreadable checkpoint",
        r"No valid checkpoint found in output directory|Can't find a valid checkpoint at"
        r"|PytorchStreamReader failed",
        "transformers: trainer.py; torch: caffe2/serialize/inline_container.cc",
        in_log=True,
    ),
    Rule(
        "transient",
        r"^ServiceError\b",
        "github.com/getindata/kedro-azureml/issues/6 (an error's root code)",
    ),
    Rule(
        "transient",
        r"Client\.Timeout exceeded while awaiting headers",
        "github.com/Azure/MachineLearningNotebooks/issues/1482 (an image that is pulled)",
    ),
    Rule(
        "transient",
        r"\bServerBusy\b|\bOperationTimedOut\b",
        "learn.microsoft.com/rest/api/storageservices/common-rest-api-error-codes",
    ),
)


def classify(evidence: Iterable[Evidence]) -> Cause:
    """Return why a job failed; ``permanent`` where that is not known."""
    known = list(evidence)
    for rule in RULES:
        if any(rule.knows(one) for one in known):
            return rule.cause
    return "permanent"


class Attempted(NamedTuple):
    """An attempt that failed, and the parameters in which it differed from the plan."""

    cause: Cause
    changes: Mapping[str, Scalar]


@dataclass(frozen=True)
class Batch:
    """How many rows a GPU takes at once, and how many times before it learns."""

    rows: int = 1
    accumulation: int = 1

    def smaller(self) -> Batch | None:
        """Return the next smaller batch with the same effective size; None where there is none."""
        rows = next((n for n in range(self.rows // 2, 0, -1) if self.rows % n == 0), None)
        return None if rows is None else Batch(rows, self.accumulation * (self.rows // rows))


#: The component's inputs that a remedy changes.
RESUME, ROWS, ACCUMULATION = (
    "resume_from_checkpoint",
    "per_device_train_batch_size",
    "gradient_accumulation_steps",
)


@dataclass(frozen=True)
class Can:
    """What can be done about a failure: the planned batch, what is declared, what was saved."""

    batch: Batch
    declared: frozenset[str]
    saved: bool


def remedy(attempted: Sequence[Attempted], can: Can) -> dict[str, Scalar] | None:
    """Return in which parameters the next attempt differs from the plan; None: there is to be none.

    ``attempted``: all attempts, in their order, the one that has just failed last.
    """
    cause, changes = attempted[-1].cause, dict(attempted[-1].changes)
    if cause == "permanent":
        return None
    if cause == "out of memory":
        return _with_a_smaller_batch(attempted, can)
    if cause == "unreadable checkpoint":
        if changes.get(RESUME) != "true":  # then it is something else
            return None
        return {**changes, RESUME: "false"}
    if can.saved and RESUME in can.declared:
        changes[RESUME] = "true"
    return changes


def _with_a_smaller_batch(attempted: Sequence[Attempted], can: Can) -> dict[str, Scalar] | None:
    changes = dict(attempted[-1].changes)
    if sum(one.cause == "out of memory" for one in attempted) > MOST_HALVED:
        return None
    now = Batch(
        int(changes.get(ROWS, can.batch.rows)),
        int(changes.get(ACCUMULATION, can.batch.accumulation)),
    )
    next_one = now.smaller()
    if next_one is None or not {ROWS, ACCUMULATION} <= can.declared:
        return None
    return {**changes, ROWS: next_one.rows, ACCUMULATION: next_one.accumulation}
