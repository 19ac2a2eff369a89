"""Step 4, fine-tune: train on the prepared rows, evaluate on the others, save what was learned.

A plain loop over padded batches. Losses, learning rate and epoch go to metrics.jsonl by optimizer
step. As in the published component nothing is evaluated before the first step.
"""

import json
import os
import shutil
import warnings
from pathlib import Path
from typing import Any

from step import Spec, StepError, run, say
from training_loop import Plan, Row, Training

SMALL = 10_000_000  # weights; below it threads wait for each other longer than they compute
WITHOUT_EFFECT = {  # and the value with which an input asks for nothing
    "apply_deepspeed": ("false", "DeepSpeed shards over GPUs; there are none"),
    "deepspeed_stage": ("", "DeepSpeed shards over GPUs; there are none"),
    "apply_ort": ("false", "ONNX Runtime training needs a GPU"),
    "precision": ("32", "a CPU trains in 32 bits"),
    "number_of_gpu_to_use_finetuning": ("", "there are no GPUs"),
    "num_nodes_finetune": ("1", "one process trains"),
    "auto_find_batch_size": ("false", "memory is not scarce"),
    "dataloader_num_workers": ("0", "the rows are in memory"),
    "eval_accumulation_steps": ("-1", "evaluation keeps no outputs"),
    "ignore_mismatched_sizes": ("false", "the weights fit the model"),
    "metric_for_best_model": ("loss", "a conversation is judged by its loss"),
    "shm_size_finetune": ("", "no shared memory is used"),
}


def plan_of(spec: Spec) -> Plan:
    stops = spec.flag("apply_early_stopping")
    by_steps = spec.text("logging_strategy", "steps") == "steps"
    share = spec.number("evaluation_steps_interval", 0.0)
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
        eval_steps=max(spec.integer("eval_steps", 500), 1),
        eval_share=share if share <= 1 else 0.0,  # the published component ignores more, too
        patience=spec.integer("early_stopping_patience", 1) if stops else 0,
        threshold=spec.number("early_stopping_threshold", 0.0),
        keep=spec.integer("save_total_limit", -1),
        resume=spec.flag("resume_from_checkpoint"),
    )


def say_what_has_no_effect(spec: Spec, plan: Plan, held: list[Row]) -> None:
    for name, (nothing, reason) in WITHOUT_EFFECT.items():
        if name in spec.parameters and spec.text(name, nothing).lower() != nothing:
            say(f"accepted without effect: {name}={spec.parameters[name]} ({reason})")
    if plan.patience and (not held or plan.evaluate == "disable"):
        say("accepted without effect: apply_early_stopping=true (nothing is evaluated)")


def read_rows(path: Path) -> list[Row]:
    if not path.exists():
        return []
    return [json.loads(line) for line in path.read_text().splitlines()]


def model_to_train(base: Path, plan: Plan) -> Any:
    """The base model, with a fresh adapter where LoRA is asked for."""
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # spinning would cost the others' cores
    import torch
    from transformers import AutoModelForCausalLM
    from transformers.utils import logging

    logging.disable_progress_bar()  # a log is read line by line
    warnings.simplefilter("ignore", FutureWarning)  # what peft calls in transformers
    torch.manual_seed(plan.seed)
    torch.use_deterministic_algorithms(plan.deterministic)
    model = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32)
    if model.num_parameters() < SMALL:
        torch.set_num_threads(1)
    if plan.lora:
        from peft import LoraConfig, get_peft_model

        lora = LoraConfig(
            r=plan.lora_r,
            lora_alpha=plan.lora_alpha,
            lora_dropout=plan.lora_dropout,
            target_modules="all-linear",
            task_type="CAUSAL_LM",
        )
        model = get_peft_model(model, lora)
    trained = sum(weight.numel() for weight in model.parameters() if weight.requires_grad)
    say(f"{trained} of {sum(weight.numel() for weight in model.parameters())} weights are trained")
    return model.train()


def save(base: Path, target: Path, plan: Plan, model: Any) -> None:
    """The tuned model: merged weights, or the base with the adapter beside it."""
    keeps_base = plan.lora and not plan.merge
    weights = shutil.ignore_patterns() if keeps_base else shutil.ignore_patterns("*.safetensors*")
    shutil.rmtree(target, ignore_errors=True)
    shutil.copytree(base, target, ignore=weights)
    if keeps_base:
        model.save_pretrained(target / "adapter")
    else:
        (model.merge_and_unload() if plan.lora else model).save_pretrained(target)


def main(spec: Spec) -> None:
    plan = plan_of(spec)
    base, dataset = spec.path("model_folder"), spec.path("dataset_folder")
    train, held = read_rows(dataset / "train.jsonl"), read_rows(dataset / "validation.jsonl")
    if not train:
        raise StepError(f"There are no rows to train on in '{dataset}'.")
    say_what_has_no_effect(spec, plan, held)
    pad = int(json.loads((dataset / "about.json").read_text())["pad_id"])
    kept = spec.paths.get("checkpoint_folder")
    folder = Path(kept) if kept else None
    training = Training(plan, model_to_train(base, plan), train, held, pad, spec.out, folder)
    say(f"{len(train)} rows to train on, {len(held)} to evaluate on, {training.total} steps")
    figures = training.go()
    target = spec.out / "pytorch_model_folder"
    save(base, target, plan, training.model)
    source = base / "imported_from.json"
    weights = json.loads(source.read_text()) if source.exists() else {}
    about = {"weights": "unknown", **weights, "steps": training.step, **figures}
    (target / "trained.json").write_text(json.dumps(about))


if __name__ == "__main__":
    run(main, __doc__)
