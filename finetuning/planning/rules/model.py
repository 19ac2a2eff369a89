"""Whether a model may be fine-tuned today."""

from __future__ import annotations

from finetuning.form.run import ModelChoice
from finetuning.planning.findings import Report
from finetuning.planning.lifecycle import Calendar
from finetuning.planning.model_card import ModelCard
from finetuning.recipes import Recipe


def check_model_card(
    choice: ModelChoice,
    version: str,
    card: ModelCard,
    recipe: Recipe,
    calendar: Calendar,
    report: Report,
) -> None:
    """Say what the card means for a run that begins on the calendar's day."""
    model = f"{choice.name}:{version}"
    for problem in card.problems:
        report.warn(
            f"The card of {model} has a field '{problem.field}' that cannot be read: "
            f"{problem.why}.",
            "It is ignored. See the model's card in the catalogue.",
        )
    if not card.fine_tunes(recipe.card_tasks):
        tasks = ", ".join(card.finetune_tasks or ()) or "none"
        report.error(
            f"{model} cannot be fine-tuned for {recipe.title} (its card's tasks: {tasks}).",
            "Choose a model that the catalogue offers for this kind of fine-tuning.",
        )
    if card.archived:
        _outdated(report, choice, f"{model} is archived.", "a live version")
    known = calendar.table.model(choice.name)
    successor = known.successor if known else "a newer model"
    own = card.finetune_retires or (known.retires if known else None)
    for what, day in (("fine-tuning", own), ("inference", card.inference_retires)):
        if day is not None and calendar.past(day):
            _outdated(report, choice, f"{model} was retired for {what} on {day}.", successor)
        elif day is not None and calendar.soon(day):
            report.warn(
                f"{model} retires for {what} on {day}, in {calendar.days_to(day)} days.",
                f"Move to {successor} before then.",
            )
    report.note(f"{model} is pinned. Licence: {card.licence or 'not named on its card'}.")


def _outdated(report: Report, choice: ModelChoice, what: str, instead: str) -> None:
    if choice.allow_retired:
        report.warn(what, "run.model.allow_retired allows it.")
    else:
        report.error(what, f"Choose {instead}, or set run.model.allow_retired.")
