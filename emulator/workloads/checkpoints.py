"""Checkpoints of a training: weights and, in the newest, all that is needed to go on from there.

checkpoint-<step>/             as transformers or peft saves the model (an adapter, with LoRA)
checkpoint-<step>/state.pt     optimizer, schedule, random numbers, counters
"""

import os
import shutil
from pathlib import Path
from typing import Any, Protocol

from step import StepError, say

STATE = "state.pt"
COUNTERS = ("step", "tokens", "worse", "best", "best_step", "losses")


class Limits(Protocol):
    """How many checkpoints are kept; below 1: all."""

    @property
    def keep(self) -> int: ...


class Training(Protocol):
    """As much of a training as a checkpoint keeps; it has the counters, too."""

    model: Any
    optimizer: Any
    schedule: Any
    step: int
    best_step: int

    @property
    def plan(self) -> Limits: ...


def of(folder: Path, step: int) -> Path:
    return folder / f"checkpoint-{step}"


def kept(folder: Path) -> list[Path]:
    """The checkpoints, oldest first."""
    whole = [entry for entry in folder.glob("checkpoint-*") if entry.suffix != ".part"]
    return sorted(whole, key=lambda checkpoint: int(checkpoint.name.split("-")[1]))


def clear(folder: Path) -> None:
    """Drop what an earlier try left."""
    for checkpoint in folder.glob("checkpoint-*"):
        shutil.rmtree(checkpoint, ignore_errors=True)


def save(folder: Path, training: Training) -> None:
    """Write a checkpoint, whole or not at all, and drop those beyond ``save_total_limit``."""
    import torch

    target = of(folder, training.step)
    part = target.with_suffix(".part")
    shutil.rmtree(part, ignore_errors=True)
    training.model.save_pretrained(part)
    state = {name: getattr(training, name) for name in COUNTERS} | {
        "optimizer": training.optimizer.state_dict(),
        "schedule": training.schedule.state_dict(),
        "random": torch.get_rng_state(),
    }
    torch.save(state, part / STATE)
    os.replace(part, target)
    _prune(folder, training)


def _prune(folder: Path, training: Training) -> None:
    """The newest and the best checkpoint stay whatever the limit."""
    *older, _ = kept(folder)
    for checkpoint in older:
        (checkpoint / STATE).unlink(missing_ok=True)  # large, and only the newest is gone on from
    beyond = older[: len(older) + 1 - training.plan.keep] if training.plan.keep > 0 else []
    best = of(folder, training.best_step)
    for checkpoint in beyond:
        if checkpoint != best:
            shutil.rmtree(checkpoint)


def resume(folder: Path, training: Training) -> None:
    """Go on from the newest checkpoint of an earlier try, if there is one.

    Raises StepError: it cannot be read.
    """
    import torch

    whole = [checkpoint for checkpoint in kept(folder) if (checkpoint / STATE).exists()]
    if not whole:
        say("resume_from_checkpoint=true: there is no checkpoint yet, starting from step 0")
        return
    try:
        state = torch.load(whole[-1] / STATE)
        load_weights(training.model, whole[-1])
    except Exception as error:  # whatever the libraries make of half a file
        said = " ".join(str(error).split())
        raise StepError(f"Can't find a valid checkpoint at {whole[-1].name}: {said}") from error
    training.optimizer.load_state_dict(state["optimizer"])
    training.schedule.load_state_dict(state["schedule"])
    torch.set_rng_state(state["random"])
    for name in COUNTERS:
        setattr(training, name, state[name])
    say(f"resumed from {whole[-1].name}")


def load_weights(model: Any, checkpoint: Path) -> None:
    from safetensors.torch import load_file

    adapter = checkpoint / "adapter_model.safetensors"
    if adapter.exists():
        from peft import set_peft_model_state_dict

        set_peft_model_state_dict(model, load_file(adapter))
    else:  # not strict: tied weights are saved once
        model.load_state_dict(load_file(checkpoint / "model.safetensors"), strict=False)
