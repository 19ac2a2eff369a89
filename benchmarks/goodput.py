"""Goodput: how much of the training that is paid for is kept, where nodes are taken away.

A fine-tune of the tiny model runs undisturbed, and again with its node lost at random steps; the
run recovers by itself. What is measured: docs/performance.md, *Goodput*. The figures also go to
``var/bench/goodput.json``.
"""

from __future__ import annotations

import json
import random
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NamedTuple
from uuid import uuid4

import httpx

from benchmarks.program import run_program
from benchmarks.report import BENCH, Figure, main
from benchmarks.stage import Stage, folder_of, stage
from benchmarks.tiny import fine_tune_parameters
from finetuning.azure.naming import attempts_until, job_name, run_key

STEP = "chat_completion_finetune"
TARGET = BENCH / "goodput.json"
#: Steps of the training, and between two checkpoints.
STEPS, INTERVAL = 200, 5
#: Lost training over paid training, lost steps over an interval for each loss, and the final
#: evaluation loss against the undisturbed run's.
AT_MOST_LOST, AT_MOST_INTERVALS, AT_MOST_APART = 0.1, 1.0, 0.02


class Logged(NamedTuple):
    """A step that a training logged, and when (unix seconds)."""

    step: int
    time: float


@dataclass(frozen=True)
class Kept:
    """What came of attempts that followed each other: steps and seconds, all and lost."""

    steps: int
    lost_steps: int
    seconds: float
    lost_seconds: float

    @property
    def goodput(self) -> float:
        """Return the useful share of the paid training time."""
        return 1 - self.lost_seconds / self.seconds if self.seconds else 0.0


def kept(attempts: Sequence[Sequence[Logged]]) -> Kept:
    """Return what was kept; a step that a later attempt took once more was lost.

    Of a step counts the time since the one before it in the same attempt.
    """
    steps = lost_steps = 0
    seconds = lost_seconds = 0.0
    for number, attempt in enumerate(attempts):
        again = min((rest[0].step for rest in attempts[number + 1 :] if rest), default=None)
        for place, one in enumerate(attempt):
            took = one.time - attempt[place - 1].time if place else 0.0
            steps, seconds = steps + 1, seconds + took
            if again is not None and one.step >= again:
                lost_steps, lost_seconds = lost_steps + 1, lost_seconds + took
    return Kept(steps, lost_steps, seconds, lost_seconds)


def measure(losses: int, seed: int) -> tuple[list[Figure], dict[str, Any]]:
    """Run the fine-tune undisturbed and with so many losses of its node; compare."""
    places = sorted(random.Random(seed).sample(range(INTERVAL + 1, STEPS - INTERVAL), losses))
    with folder_of("goodput") as folder, stage(folder) as here:
        undisturbed = _trained(here, [])
        disturbed = _trained(here, places)
    found = kept(disturbed.attempts)
    apart = abs(disturbed.eval_loss - undisturbed.eval_loss)
    figures = [
        Figure("training that was paid for and lost", 1 - found.goodput, "", AT_MOST_LOST),
        Figure(
            "lost steps over checkpoint intervals",
            found.lost_steps / (INTERVAL * max(losses, 1)),
            "x",
            AT_MOST_INTERVALS,
        ),
        Figure("final evaluation loss apart", apart, "", AT_MOST_APART),
    ]
    details = {
        "losses_at_steps": places,
        "attempts": len(disturbed.attempts),
        "goodput": found.goodput,
        "interval_steps": INTERVAL,
        "eval_loss": {"undisturbed": undisturbed.eval_loss, "disturbed": disturbed.eval_loss},
        **asdict(found),
    }
    TARGET.parent.mkdir(parents=True, exist_ok=True)
    TARGET.write_text(json.dumps(details, indent=1) + "\n", encoding="utf-8")
    return figures, details


@dataclass(frozen=True)
class Trained:
    """The attempts of one run, each by what it logged, and the last evaluation loss."""

    attempts: list[list[Logged]]
    eval_loss: float


def _trained(here: Stage, places: Iterable[int]) -> Trained:
    key, losses = uuid4().hex, list(places)
    for place in losses:
        fault = {"kind": "node_lost", "step": STEP, "after": place}
        url = f"{here.env['EMULATOR_ADMIN_URL']}/faults"
        httpx.post(url, json=fault, trust_env=False, timeout=60).raise_for_status()
    run_program(
        "benchmarks.programs", here.folder, here.env, "fine-tune", json.dumps(_run(key, losses))
    )
    first = job_name(run_key("", key))
    names = attempts_until(f"{first}-{len(losses) + 1}" if losses else first)
    files = [_metrics(here.folder, name) for name in names]
    rows = [[json.loads(line) for line in file.read_text().splitlines()] for file in files]
    attempts = [
        [Logged(row["step"], row["time"]) for row in one if "loss" in row["metrics"]]
        for one in rows
    ]
    evaluated = [row["metrics"]["eval_loss"] for row in rows[-1] if "eval_loss" in row["metrics"]]
    return Trained(attempts, float(evaluated[-1]))


def _metrics(folder: Path, job: str) -> Path:
    return folder / "emulator" / "jobs" / job / STEP / "metrics.jsonl"


def _run(key: str, losses: Sequence[int]) -> dict[str, Any]:
    other = {
        "max_steps": STEPS,
        "max_seq_length": 96,
        "logging_steps": 1,
        "evaluation_strategy": "steps",
        "eval_steps": INTERVAL,
        "save_total_limit": 2,
    }
    return fine_tune_parameters(
        0.5,
        key=key,
        parameters={"learning_rate": 2e-3, "num_train_epochs": 50, "other": other},
        recovery={"max_attempts": len(losses) + 1, "pause_seconds": 0},
    )


if __name__ == "__main__":
    main(
        "goodput",
        measure,
        __doc__,
        losses=(3, "how often the node is lost"),
        seed=(1, "of the steps at which that happens"),
    )
