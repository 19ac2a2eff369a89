"""Step 4, fine-tune: train on the prepared rows, evaluate before and after, save what was learned.

A plain loop over padded batches. Losses, learning rate and epoch go to metrics.jsonl by optimizer
step; evaluation before the first step is step 0.
"""

import json
import math
import random
import shutil
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from step import Spec, StepError, run, say

WITHOUT_EFFECT = {
    "apply_deepspeed": "DeepSpeed shards over GPUs; there are none",
    "deepspeed_stage": "DeepSpeed shards over GPUs; there are none",
    "apply_ort": "ONNX Runtime training needs a GPU",
    "precision": "a CPU trains in 32 bits",
    "number_of_gpu_to_use_finetuning": "there are no GPUs",
    "num_nodes_finetune": "one process trains",
    "auto_find_batch_size": "memory is not scarce",
    "dataloader_num_workers": "the rows are in memory",
    "eval_accumulation_steps": "evaluation keeps no outputs",
    "ignore_mismatched_sizes": "the weights fit the model",
    "shm_size_finetune": "no shared memory is used",
}


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
    eval_steps: float  # below 1: a share of all steps
    patience: int  # 0: never stops early
    threshold: float
    keep: int  # checkpoints; below 1: all


def plan_of(spec: Spec) -> Plan:
    stops = spec.flag("apply_early_stopping")
    by_steps = spec.text("logging_strategy", "steps") == "steps"
    interval = spec.number("evaluation_steps_interval", 0.0)
    return Plan(
        epochs=spec.integer("num_train_epochs", 1),
        max_steps=spec.integer("max_steps", -1),
        train_batch=spec.integer("per_device_train_batch_size", 1),
        eval_batch=spec.integer("per_device_eval_batch_size", 1),
        accumulation=spec.integer("gradient_accumulation_steps", 1),
        learning_rate=spec.number("learning_rate", 2e-5),
        scheduler=spec.text("lr_scheduler_type", "linear"),
        warmup=spec.integer("warmup_steps", 0),
        weight_decay=spec.number("weight_decay", 0.0),
        betas=(spec.number("adam_beta1", 0.9), spec.number("adam_beta2", 0.999)),
        epsilon=spec.number("adam_epsilon", 1e-8),
        optimizer=spec.text("optim", "adamw_torch"),
        max_grad_norm=spec.number("max_grad_norm", 1.0),
        lora=spec.flag("apply_lora"),
        merge=spec.flag("merge_lora_weights", True),
        lora_r=spec.integer("lora_r", 8),
        lora_alpha=spec.integer("lora_alpha", 128),
        lora_dropout=spec.number("lora_dropout", 0.0),
        seed=spec.integer("seed", 42),
        deterministic=spec.flag("enable_full_determinism"),
        log_steps=max(spec.integer("logging_steps", 10), 1) if by_steps else 0,
        evaluate=spec.text("evaluation_strategy", "epoch"),
        eval_steps=interval if interval > 0 else spec.integer("eval_steps", 500),
        patience=spec.integer("early_stopping_patience", 1) if stops else 0,
        threshold=spec.number("early_stopping_threshold", 0.0),
        keep=spec.integer("save_total_limit", -1),
    )


class Journal:
    """Metrics by step, one JSON object a line, readable while the training goes on."""

    def __init__(self, path: Path) -> None:
        self.file = path.open("a", encoding="utf-8")

    def log(self, step: int, **metrics: float) -> None:
        row = {"step": step, "time": time.time(), "metrics": metrics}
        self.file.write(json.dumps(row) + "\n")
        self.file.flush()
        say(f"step {step}: " + ", ".join(f"{name} {value:.6g}" for name, value in metrics.items()))


Row = dict[str, list[int]]


def read_rows(path: Path) -> list[Row]:
    if not path.exists():
        return []
    return [json.loads(line) for line in path.read_text().splitlines()]


def batches(rows: list[Row], size: int, pad: int) -> Iterator[dict[str, Any]]:
    """Rows as tensors, padded to the longest of their batch."""
    import torch

    for start in range(0, len(rows), size):
        some = rows[start : start + size]
        longest = max(len(row["input_ids"]) for row in some)
        yield {
            "input_ids": torch.tensor([_fill(r["input_ids"], longest, pad) for r in some]),
            "labels": torch.tensor([_fill(r["labels"], longest, -100) for r in some]),
            "attention_mask": torch.tensor(
                [_fill([1] * len(r["input_ids"]), longest, 0) for r in some]
            ),
        }


def _fill(values: list[int], length: int, filler: int) -> list[int]:
    return values + [filler] * (length - len(values))


def evaluate(model: Any, rows: list[Row], size: int, pad: int) -> float:
    """Mean loss a learned token over all rows."""
    import torch

    total, tokens = 0.0, 0
    model.eval()
    with torch.no_grad():
        for batch in batches(rows, size, pad):
            count = int((batch["labels"][:, 1:] != -100).sum())
            if count:
                total += float(model(**batch).loss) * count
                tokens += count
    model.train()
    return total / max(tokens, 1)


def with_lora(model: Any, plan: Plan) -> Any:
    from peft import LoraConfig, get_peft_model

    config = LoraConfig(
        r=plan.lora_r,
        lora_alpha=plan.lora_alpha,
        lora_dropout=plan.lora_dropout,
        target_modules="all-linear",
        task_type="CAUSAL_LM",
    )
    return get_peft_model(model, config)


def optimizer_of(model: Any, plan: Plan) -> Any:
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    if plan.optimizer == "adafactor":
        from transformers import Adafactor

        return Adafactor(
            trained, lr=plan.learning_rate, weight_decay=plan.weight_decay,
            scale_parameter=False, relative_step=False,
        )  # fmt: skip
    from torch.optim import AdamW

    return AdamW(
        trained,
        lr=plan.learning_rate,
        betas=plan.betas,
        eps=plan.epsilon,
        weight_decay=plan.weight_decay,
    )


class Training:
    """The state of one training: model, optimizer, schedule, and how far it is."""

    def __init__(self, spec: Spec, plan: Plan, model: Any, train: list[Row], held: list[Row]):
        from transformers import get_scheduler

        self.spec, self.plan, self.model = spec, plan, model
        self.train, self.held = train, held
        about = json.loads((spec.path("dataset_folder") / "about.json").read_text())
        self.pad = int(about["pad_id"])
        batches_an_epoch = math.ceil(len(train) / plan.train_batch)
        self.steps_an_epoch = math.ceil(batches_an_epoch / plan.accumulation)
        whole = self.steps_an_epoch * plan.epochs
        self.total = plan.max_steps if plan.max_steps > 0 else whole
        self.optimizer = optimizer_of(model, plan)
        self.schedule = get_scheduler(plan.scheduler, self.optimizer, plan.warmup, self.total)
        self.journal = Journal(spec.out / "metrics.jsonl")
        self.shuffle = random.Random(plan.seed)
        self.step = self.tokens = self.worse = 0
        self.best = math.inf
        self.stopped = False

    def go(self) -> dict[str, float]:
        """Train to the end; the final figures."""
        started = time.monotonic()
        before = self.look() if self.held and self.plan.evaluate != "disable" else None
        while self.step < self.total and not self.stopped:
            self.epoch()
        seconds = time.monotonic() - started
        figures = {"train_runtime": seconds, "train_tokens": float(self.tokens)}
        self.journal.log(self.step, epoch=self.done_epochs(), **figures)
        return figures | ({} if before is None else {"eval_loss_before": before})

    def epoch(self) -> None:
        rows = self.train[:]
        self.shuffle.shuffle(rows)
        losses: list[float] = []
        group: list[dict[str, Any]] = []
        some = list(batches(rows, self.plan.train_batch, self.pad))
        for place, batch in enumerate(some):
            group.append(batch)
            if len(group) < self.plan.accumulation and place + 1 < len(some):
                continue
            losses.append(self.update(group))
            group = []
            self.report(losses)
            if self.step >= self.total or self.stopped:
                break
        at_end = self.plan.evaluate == "epoch" or self.step >= self.total
        if at_end and self.plan.evaluate != "disable" and not self.stopped:
            self.check()
        if self.plan.log_steps == 0:
            self.note(sum(losses) / len(losses))

    def update(self, group: list[dict[str, Any]]) -> float:
        """One optimizer step over the group's batches; their mean loss."""
        import torch

        rate_before = self.schedule.get_last_lr()[0]
        self.rate = rate_before
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

    def report(self, losses: list[float]) -> None:
        """Log and evaluate where the strategies say so."""
        plan = self.plan
        if plan.log_steps and (self.step == 1 or self.step % plan.log_steps == 0):
            self.note(losses[-1])
        every = plan.eval_steps if plan.eval_steps >= 1 else max(1, int(plan.eval_steps * self.total))
        if plan.evaluate == "steps" and self.step % int(every) == 0 and self.step < self.total:
            self.check()

    def note(self, loss: float) -> None:
        self.journal.log(self.step, loss=loss, learning_rate=self.rate, epoch=self.done_epochs())

    def look(self) -> float:
        loss = evaluate(self.model, self.held, self.plan.eval_batch, self.pad)
        self.journal.log(self.step, eval_loss=loss, epoch=self.done_epochs())
        return loss

    def check(self) -> None:
        """Evaluate, save a checkpoint, and stop where it no longer gets better."""
        if not self.held:
            return
        loss = self.look()
        self.save_checkpoint()
        if loss < self.best - self.plan.threshold:
            self.best, self.worse = loss, 0
        else:
            self.worse += 1
        if self.plan.patience and self.worse >= self.plan.patience:
            say(f"stopped early at step {self.step}: no better for {self.worse} evaluations")
            self.stopped = True

    def save_checkpoint(self) -> None:
        folder = self.spec.out / "checkpoints"
        self.model.save_pretrained(folder / f"checkpoint-{self.step}")
        kept = sorted(folder.iterdir(), key=lambda one: int(one.name.split("-")[1]))
        for old in kept[: -self.plan.keep] if self.plan.keep > 0 else []:
            shutil.rmtree(old)

    def done_epochs(self) -> float:
        return round(self.step / self.steps_an_epoch, 4)


def save(spec: Spec, plan: Plan, model: Any, about: dict[str, Any]) -> None:
    """The tuned model: merged weights, or the base with the adapter beside it."""
    target = spec.out / "pytorch_model_folder"
    base = spec.path("model_folder")
    shutil.copytree(base, target)
    if plan.lora and not plan.merge:
        model.save_pretrained(target / "adapter")
    else:
        merged = model.merge_and_unload() if plan.lora else model
        merged.save_pretrained(target)
    (target / "trained.json").write_text(json.dumps(about))


def main(spec: Spec) -> None:
    plan = plan_of(spec)
    for name, reason in WITHOUT_EFFECT.items():
        if name in spec.parameters:
            say(f"accepted without effect: {name}={spec.parameters[name]} ({reason})")
    if spec.flag("resume_from_checkpoint"):
        say("accepted without effect: resume_from_checkpoint=true (a new job has no checkpoint)")
    dataset = spec.path("dataset_folder")
    train, held = read_rows(dataset / "train.jsonl"), read_rows(dataset / "validation.jsonl")
    base = spec.path("model_folder")

    import torch
    from transformers import AutoModelForCausalLM

    torch.manual_seed(plan.seed)
    torch.use_deterministic_algorithms(plan.deterministic)
    model = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32)
    model = with_lora(model, plan) if plan.lora else model
    model.train()
    training = Training(spec, plan, model, train, held)
    say(f"{len(train)} rows to train on, {len(held)} to evaluate on, {training.total} steps")
    figures = training.go()
    kind = json.loads((base / "imported_from.json").read_text())
    about = {"weights": kind.get("weights", "unknown"), "steps": training.step, **figures}
    save(spec, plan, model, about)


if __name__ == "__main__":
    run(main, __doc__)
