"""How far a training's checkpoints are apart where its nodes may be taken away at any time.

The component saves one at every evaluation, by default once an epoch: of a short run that is its
end. So an interval is worked out from the steps and from what may be lost, never a constant.
"""

from __future__ import annotations

from dataclasses import dataclass

from finetuning.planning.findings import Report
from finetuning.planning.parameters import Parameter, Settled
from finetuning.planning.prices import EVALUATION_SHARE, Estimate

STRATEGY, INTERVAL, SHARE = "evaluation_strategy", "eval_steps", "evaluation_steps_interval"


@dataclass(frozen=True)
class Training:
    """What is estimated of a training: its steps, their seconds, tokens of all and of one check."""

    steps: int
    seconds: float
    tokens: float
    test_tokens: float


def trained(
    estimate: Estimate | None, nodes: int, overhead_hours: float, test_tokens: float
) -> Training | None:
    """Return what an estimate says of the training itself; None where it says nothing of it."""
    lines = [one for one in estimate.lines if one.what == "training"] if estimate else []
    if estimate is None or not lines or estimate.steps < 1:
        return None
    seconds = (lines[0].node_hours / nodes - overhead_hours) * 3600
    return Training(estimate.steps, max(seconds, 0.0), estimate.tokens, test_tokens)


def steps_between(training: Training, max_lost_minutes: float) -> int:
    """Return after how many steps a checkpoint is due; a short run has one half-way."""
    half = max(1, training.steps // 2)
    each = training.seconds / training.steps
    return half if each <= 0 else max(1, int(min(half, max_lost_minutes * 60 / each)))


def is_left_open(settled: Settled) -> bool:
    """Whether nobody has said how often it is evaluated, and the component can be told."""
    origins = {one.name: one.origin for one in settled.parameters}
    return all(origins.get(name) == "component" for name in (STRATEGY, INTERVAL, SHARE))


def with_checkpoints(settled: Settled, training: Training, max_lost_minutes: float) -> Settled:
    """Return the parameters with an interval between checkpoints, and what that costs."""
    every = steps_between(training, max_lost_minutes)
    asked = {STRATEGY: "steps", INTERVAL: every}
    parameters = [
        Parameter(name=one.name, value=asked[one.name], origin="ours") if one.name in asked else one
        for one in settled.parameters
    ]
    report = Report("parameters")
    checks = training.steps // every
    share = EVALUATION_SHARE * training.test_tokens * checks / max(training.tokens, 1.0)
    minutes = every * training.seconds / training.steps / 60
    report.note(
        f"Its nodes may be taken away, so it is evaluated, and saved, every {every} steps (about "
        f"{minutes:.0f} min): {checks} evaluations, {share:.0%} more than the training itself.",
        "Set run.recovery.max_lost_minutes, or evaluation_strategy and eval_steps yourself.",
    )
    return Settled(parameters=parameters, findings=[*settled.findings, *report.findings])
