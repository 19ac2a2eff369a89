"""The model card: what the model is, how it was made, and how it did, in the Hub's own form."""

from __future__ import annotations

from finetuning.evaluation.report import answered, figures
from finetuning.form.results import Foundation, Trained
from finetuning.form.verdict import SuiteResult, Verdict

#: The names that the Hub's index of results has for our metrics.
METRIC_NAMES = {
    "rouge_l": "rouge",
    "chrf": "chrf",
    "exact": "exact_match",
    "check": "accuracy",
}


def write_card(trained: Trained, verdict: Verdict, licence: str | None = None) -> str:
    """Return the card as markdown with its metadata.

    Its figures can be made again from ``rows.jsonl``, which lies beside it: every row with both
    answers and scores; the differences' intervals by the bootstrap, whose seed is fixed.
    """
    from huggingface_hub import EvalResult, ModelCard, ModelCardData

    name = f"{trained.registered.name}:{trained.registered.version}"
    results = [
        EvalResult(
            task_type="text-generation",
            dataset_type=one.suite,
            dataset_name=f"{one.suite} ({len(one.rows)} rows, {one.digest})",
            metric_type=METRIC_NAMES[one.rules.metric],
            metric_name=one.rules.metric,
            metric_value=round(one.mean, 6),
        )
        for one in verdict.suites
    ]
    about = ModelCardData(
        model_name=name,
        base_model=trained.model.name,
        license=licence,
        pipeline_tag="text-generation",
        eval_results=results,
        tags=["fine-tuned", verdict.decision],
    )
    return str(ModelCard(f"---\n{about.to_yaml()}\n---\n\n{_text(name, trained, verdict)}"))


def _text(name: str, trained: Trained, verdict: Verdict) -> str:
    parts = [
        f"# {name}",
        f"{trained.model.name} version {trained.model.version}, fine-tuned by Azure ML job "
        f"`{trained.job.name}`.",
        f"**Verdict: {verdict.decision}.** Compared with the {verdict.champion}. {verdict.why}.",
        "## How it was made",
        _made(trained.model, trained),
        "## How it did",
        figures(verdict),
        answered(verdict),
        "## How to reproduce the figures",
        "`rows.jsonl` beside this card holds every row with both answers and scores. A mean is "
        "that of the scores. An interval is that of `finetuning/evaluation/intervals.py` over the "
        f"paired scores, at a confidence of {verdict.confidence:g}.",
        *[_rules(one) for one in verdict.suites],
    ]
    return "\n\n".join(parts) + "\n"


def _made(base: Foundation, trained: Trained) -> str:
    rows = ", ".join(f"{split} {count}" for split, count in trained.data.rows.items())
    facts = {
        "base model": base.id,
        "data": f"{trained.data.dataset} at {trained.data.commit}",
        "data hash": trained.data.version,
        "rows": rows,
        "training loss": f"{trained.metrics.loss_first} to {trained.metrics.loss_last}",
        **{f"`{name}`": str(value) for name, value in sorted(trained.parameters.items())},
    }
    return "\n".join(
        ["| what | value |", "| --- | --- |", *(f"| {k} | {v} |" for k, v in facts.items())]
    )


def _rules(one: SuiteResult) -> str:
    rules = one.rules.model_dump(include={"metric", "min_improvement", "max_regression", "floor"})
    said = ", ".join(f"{name} {value}" for name, value in rules.items() if value is not None)
    return f"Suite `{one.suite}` (`{one.digest}`): {said}."
