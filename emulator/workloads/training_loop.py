"""The loop of the fine-tune: batches, steps, evaluations, what is logged, when it stops."""

import json
import math
import random
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import checkpoints
from step import StepError, say

Row = dict[str, list[int]]
Batch = dict[str, Any]
IGNORED = -100  # a label that the loss leaves out


@dataclass(frozen=True)
class Plan:
    """What the parameters ask for, as numbers."""

    epochs: int
    max_steps: int
    train_batch: int
    eval_batch: int
    accumulation: int
    learning_rate: float
    scheduler: str
    warmup: int
    weight_decay: float
    betas: tuple[float, float]
    epsilon: float
    optimizer: str
    max_grad_norm: float
    lora: bool
    merge: bool
    lora_r: int
    lora_alpha: int
    lora_dropout: float
    seed: int
    deterministic: bool
    log_steps: int  # 0: once an epoch
    evaluate: str  # epoch, steps, disable
    eval_steps: int
    eval_share: float  # of an epoch's steps; in the place of eval_steps where it is above 0
    patience: int  # 0: never stops early
    threshold: float
    keep: int  # checkpoints; below 1: all
    resume: bool


class Journal:
    """Metrics by step, one JSON object a line, readable while the training goes on."""

    def __init__(self, path: Path, upto: int) -> None:
        """Go on with the file after step ``upto``; what it says of later steps is dropped."""
        lines = path.read_text(encoding="utf-8").splitlines(True) if path.exists() else []
        kept = [line for line in lines if line.endswith("\n") and json.loads(line)["step"] <= upto]
        path.write_text("".join(kept), encoding="utf-8")
        self.path = path

    def log(self, step: int, **metrics: float) -> None:
        row = {"step": step, "time": time.time(), "metrics": metrics}
        with self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(row) + "\n")
        say(f"step {step}: " + ", ".join(f"{name} {value:.6g}" for name, value in metrics.items()))


def batches(rows: list[Row], size: int, pad: int) -> Iterator[Batch]:
    """Rows as tensors, padded to the longest of their batch."""
    for start in range(0, len(rows), size):
        yield _batch(rows[start : start + size], pad)


def _batch(rows: list[Row], pad: int) -> Batch:
    import torch

    longest = max(len(row["input_ids"]) for row in rows)
    return {
        "input_ids": torch.tensor([_fill(row["input_ids"], longest, pad) for row in rows]),
        "labels": torch.tensor([_fill(row["labels"], longest, IGNORED) for row in rows]),
        "attention_mask": torch.tensor([_fill(row["attention_mask"], longest, 0) for row in rows]),
    }


def _fill(values: list[int], length: int, filler: int) -> list[int]:
    return values + [filler] * (length - len(values))


def groups(rows: list[Row], plan: Plan, pad: int) -> Iterator[list[Batch]]:
    """The batches of one optimizer step each; the last of an epoch may be fewer."""
    group: list[Batch] = []
    for batch in batches(rows, plan.train_batch, pad):
        group.append(batch)
        if len(group) == plan.accumulation:
            yield group
            group = []
    if group:
        yield group


def evaluate(model: Any, rows: list[Row], size: int, pad: int) -> float:
    """Mean loss of a learned token over all rows."""
    import torch

    total, tokens = 0.0, 0
    model.eval()
    with torch.no_grad():
        for batch in batches(rows, size, pad):
            count = int((batch["labels"][:, 1:] != IGNORED).sum())
            if count:
                total += float(model(**batch).loss) * count
                tokens += count
    model.train()
    return total / max(tokens, 1)


def optimizer_of(model: Any, plan: Plan) -> Any:
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    if plan.optimizer == "adafactor":
        from transformers.optimization import Adafactor

        return Adafactor(
            trained, lr=plan.learning_rate, weight_decay=plan.weight_decay,
            scale_parameter=False, relative_step=False,
        )  # fmt: skip
    from torch.optim import AdamW

    return AdamW(
        trained, lr=plan.learning_rate, betas=plan.betas, eps=plan.epsilon,
        weight_decay=plan.weight_decay,
    )  # fmt: skip


class Training:
    """The state of one training: model, optimizer, schedule, and how far it is."""

    def __init__(
        self,
        plan: Plan,
        model: Any,
        train: list[Row],
        held: list[Row],
        pad: int,
        out: Path,
        folder: Path | None = None,
    ) -> None:
        """``folder`` is where checkpoints are kept, if not below ``out``."""
        from transformers.optimization import get_scheduler

        self.plan, self.model, self.pad = plan, model, pad
        self.train, self.held = train, held
        batches_an_epoch = math.ceil(len(train) / plan.train_batch)
        self.steps_an_epoch = math.ceil(batches_an_epoch / plan.accumulation)
        self.total = plan.max_steps if plan.max_steps > 0 else self.steps_an_epoch * plan.epochs
        self.optimizer = optimizer_of(model, plan)
        self.schedule = get_scheduler(plan.scheduler, self.optimizer, plan.warmup, self.total)
        self.folder = folder or out / "checkpoints"
        self.step = self.tokens = self.worse = self.best_step = 0
        self.best = math.inf
        self.losses: list[float] = []  # of the steps since the last that was logged
        self.rate = 0.0
        if plan.resume:
            checkpoints.resume(self.folder, self)
        else:
            checkpoints.clear(self.folder)
        self.journal = Journal(out / "metrics.jsonl", upto=self.step if self.step else -1)

    @property
    def evaluates(self) -> bool:
        return bool(self.held) and self.plan.evaluate != "disable"

    @property
    def stopped(self) -> bool:
        """Whether the evaluations say that it no longer gets better."""
        return 0 < self.plan.patience <= self.worse

    @property
    def goes_on(self) -> bool:
        return self.step < self.total and not self.stopped

    @property
    def epochs_done(self) -> float:
        return round(self.step / self.steps_an_epoch, 4)

    def go(self) -> dict[str, float]:
        """Train to the end; the final figures. Raises StepError: the training diverged."""
        started = time.monotonic()
        while self.goes_on:
            self.epoch(self.step // self.steps_an_epoch)
        if self.stopped:
            say(f"stopped early at step {self.step}: no better for {self.worse} evaluations")
        if self.best_step:
            self.back_to_the_best()
        seconds = time.monotonic() - started
        figures = {"train_runtime": seconds, "train_tokens": float(self.tokens)}
        self.journal.log(self.step, epoch=self.epochs_done, **figures)
        return figures

    def epoch(self, number: int) -> None:
        """What is left of an epoch: its order depends on nothing but the seed and its number."""
        rows = self.train[:]
        random.Random(f"{self.plan.seed}/{number}").shuffle(rows)
        done = self.step - number * self.steps_an_epoch
        for place, group in enumerate(groups(rows, self.plan, self.pad)):
            if place < done:
                continue
            self.losses.append(self.update(group))
            self.after_step(ends_epoch=place + 1 == self.steps_an_epoch)
            if not self.goes_on:
                break

    def update(self, group: list[Batch]) -> float:
        """One optimizer step over the group's batches; their mean loss."""
        import torch

        self.rate = float(self.schedule.get_last_lr()[0])
        total = 0.0
        for batch in group:
            loss = self.model(**batch).loss / len(group)
            if not torch.isfinite(loss):
                raise StepError(
                    f"The loss is {float(loss)} at step {self.step + 1}: the training diverged. "
                    f"Lower learning_rate (it is {self.plan.learning_rate:g})."
                )
            loss.backward()
            total += loss.item()
            self.tokens += int(batch["attention_mask"].sum())
        if self.plan.max_grad_norm > 0:
            torch.nn.utils.clip_grad_norm_(self.model.parameters(), self.plan.max_grad_norm)
        self.optimizer.step()
        self.schedule.step()
        self.optimizer.zero_grad()
        self.step += 1
        return total

    def after_step(self, *, ends_epoch: bool) -> None:
        """Log and evaluate where the strategies say so, and at the last step."""
        plan, last = self.plan, self.step >= self.total
        due = self.step == 1 or self.step % plan.log_steps == 0 if plan.log_steps else ends_epoch
        if due or last:
            self.note()
        by_steps = plan.evaluate == "steps" and self.step % self.eval_every == 0
        if self.evaluates and (last or by_steps or (plan.evaluate == "epoch" and ends_epoch)):
            self.check()

    @property
    def eval_every(self) -> int:
        if self.plan.eval_share > 0:
            return max(1, int(self.plan.eval_share * self.steps_an_epoch))
        return self.plan.eval_steps

    def note(self) -> None:
        loss = sum(self.losses) / len(self.losses)
        self.journal.log(self.step, loss=loss, learning_rate=self.rate, epoch=self.epochs_done)
        self.losses = []

    def look(self) -> float:
        loss = evaluate(self.model, self.held, self.plan.eval_batch, self.pad)
        worth = math.exp(min(loss, 100.0))
        self.journal.log(self.step, eval_loss=loss, eval_perplexity=worth, epoch=self.epochs_done)
        return loss

    def check(self) -> None:
        """Evaluate, remember the best, save a checkpoint."""
        loss = self.look()
        if loss < self.best - self.plan.threshold:
            self.best, self.best_step, self.worse = loss, self.step, 0
        else:
            self.worse += 1
        checkpoints.save(self.folder, self)

    def back_to_the_best(self) -> None:
        """Keep the weights of the best evaluation, as the published component always does.

        It sets transformers' ``load_best_model_at_end`` (azureml-acft-accelerator, callbacks:
        ShouldSaveCheckpointOnEvaluate).
        """
        if self.best_step != self.step:
            checkpoints.load_weights(self.model, checkpoints.of(self.folder, self.best_step))
            say(f"back to the weights of step {self.best_step}, eval_loss {self.best:.6g}")
