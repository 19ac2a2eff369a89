"""Whether the conversations can be trained on, and enough of them."""

from __future__ import annotations

from collections.abc import Mapping

from finetuning.planning.facts import SplitFacts
from finetuning.planning.findings import Report
from finetuning.recipes import Splits


def check_data(
    splits: Mapping[str, SplitFacts],
    used: Splits,
    rows_per_step: int,
    max_bad_share: float,
    report: Report,
) -> None:
    """Say what speaks against the data; ``used`` are the splits that the recipe uses.

    More malformed rows than ``max_bad_share`` of those looked at are an error, fewer a warning.
    """
    train, test = used.train, used.test
    for facts in splits.values():
        _check_split(facts, max_bad_share, report)
    if train in splits and splits[train].rows < rows_per_step:
        report.error(
            f"Split {train} has {splits[train].rows} rows; one training step needs {rows_per_step} "
            "(batch x accumulation x GPUs x nodes).",
            "Use a larger percentage of the data, or a smaller batch.",
        )
    if train in splits and test in splits:
        _check_overlap(splits[train], splits[test], report)


def _check_split(facts: SplitFacts, max_bad_share: float, report: Report) -> None:
    seen = facts.survey
    looked = "all" if facts.complete else f"the first {seen.rows}"
    report.note(
        f"Split {facts.name}: {facts.rows} rows, {looked} of them checked. About "
        f"{seen.tokens_per_row:.0f} tokens per row, {seen.longest} in the longest."
    )
    if facts.rows == 0:
        report.error(f"Split {facts.name} has no rows.", "Use a larger percentage of the data.")
    if seen.malformed:
        _check_malformed(facts, max_bad_share, report)
    for count, what, change in (
        (seen.empty, "with an empty message", "Filter them out before training."),
        (
            seen.not_alternating,
            "whose roles do not alternate from user to assistant",
            "Some chat templates reject them. Fix them, or filter them out.",
        ),
        (
            seen.over_long,
            "longer than max_seq_length",
            "They will be truncated. Raise max_seq_length, or filter them out.",
        ),
        (
            seen.secrets,
            "with what looks like a password or key",
            "Check them before a model learns them.",
        ),
    ):
        if count:
            report.warn(f"Split {facts.name} has {count} of {seen.rows} rows {what}.", change)


def _check_malformed(facts: SplitFacts, max_bad_share: float, report: Report) -> None:
    seen = facts.survey
    say = report.error if seen.malformed > max_bad_share * seen.rows else report.warn
    say(
        f"Split {facts.name} has {seen.malformed} of {seen.rows} malformed rows: "
        f"{'; '.join(seen.malformed_first)}.",
        "A row should be {prompt: text, messages: [{role, content}], prompt_id: text}.",
    )


def _check_overlap(train: SplitFacts, test: SplitFacts, report: Report) -> None:
    same = len(train.survey.fingerprints & test.survey.fingerprints)
    if same:
        report.warn(
            f"{same} conversations are in both {train.name} and {test.name}.",
            "The evaluation will look better than the model is. Remove them from one of the two.",
        )
