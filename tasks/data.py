"""Data: what a run would take, the conversations prepared once, and every row looked at.

Prefect's cache decides whether anything is prepared at all. Its key is made of what is chosen and
of what the source holds now (a commit, ETags, sizes and times), which costs a request or two; it is
the same on every worker that shares the result storage. Where the source does not say what it holds
there is no key: the step then asks it itself, and fails with the source's own words.
"""

from __future__ import annotations

import json
import logging
import os
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import UUID

from prefect import get_run_logger, task
from prefect.artifacts import (
    create_progress_artifact,
    create_table_artifact,
    update_progress_artifact,
)
from prefect.cache_policies import CacheKeyFnPolicy
from prefect.context import TaskRunContext

from finetuning.azure.settings import Settings
from finetuning.conversations.rows import to_lines
from finetuning.conversations.selection import part, select
from finetuning.conversations.sources import Source, open_source
from finetuning.conversations.survey import NAMED, read_lines, survey
from finetuning.conversations.write import digest_of_inputs, prepare
from finetuning.errors import DataError, FineTuneError, PlanRefused
from finetuning.form.data import DataChoice, PreparedData
from finetuning.planning.facts import SplitFacts
from finetuning.planning.findings import Finding, Report, errors
from finetuning.planning.plan import Plan
from finetuning.planning.rules.data import check_data
from finetuning.recipes import recipe_for
from tasks.kept_results import KEPT
from tasks.step import REPEATED, azure_step

if TYPE_CHECKING:
    pass


#: Rows of each split that are looked at.
SAMPLE = 400


def _digest(parameters: dict[str, Any]) -> str | None:
    try:
        return digest_of_inputs(parameters["choice"], parameters["settings"])
    except FineTuneError:
        return None


def looked_key(context: TaskRunContext, parameters: dict[str, Any]) -> str | None:  # noqa: ARG001
    """Return the cache's key: what a split is made of is looked at once, as it is prepared once."""
    digest = _digest(parameters)
    return digest and f"looked-at-{digest}-{parameters['max_seq_length']}"


@azure_step(
    "Gate: the conversations",
    cache_policy=CacheKeyFnPolicy(cache_key_fn=looked_key),
    **KEPT,
)
def look_at_data(
    settings: Settings, choice: DataChoice, max_seq_length: int | None
) -> dict[str, SplitFacts]:
    """Count the rows that the run would take of every split, and look at the first of them.

    Raises:
        DataError: the dataset or a split is not there, or cannot be read.
    """
    source = open_source(choice, settings)
    with ThreadPoolExecutor(len(choice.names)) as pool:
        looked = pool.map(lambda name: _look(source, name, choice, max_seq_length), choice.names)
        return {facts.name: facts for facts in looked}


def _look(source: Source, name: str, choice: DataChoice, max_seq_length: int | None) -> SplitFacts:
    split = source.split(choice.own_name(name))
    selected = part(choice, name, select(choice, split.rows))
    sample = selected[:SAMPLE]
    batches = [to_lines(read(), choice) for read in split.readings(sample, choice)]
    broken = sum(batch.dropped["broken"] for batch in batches)
    content = b"".join(batch.content for batch in batches)
    seen = survey(read_lines(content.splitlines()), max_seq_length)
    kept = round(len(selected) * seen.rows / len(sample)) if len(sample) else 0
    counted = {
        "rows": seen.rows + broken,
        "malformed": broken,
        "malformed_first": [text for batch in batches for text in batch.bad][:NAMED],
    }
    return SplitFacts(name=name, rows=kept, survey=seen.model_copy(update=counted))


@azure_step("Gate: the prepared data")
def check_prepared_data(data: PreparedData, plan: Plan) -> list[Finding]:
    """Look at every row of the prepared files, before anything is submitted.

    A file that this machine does not have was prepared, and looked at, on another: it is left out.

    Raises:
        PlanRefused: the data cannot be trained on; names row and field.
    """
    report = Report("data")
    splits = {
        name: _whole(name, Path(file.path), plan.job.max_seq_length)
        for name, file in data.files.items()
        if file.here
    }
    used = recipe_for(plan.recipe, plan.data).splits
    check_data(splits, used, plan.job.rows_per_step, plan.data.max_bad_share, report)
    refused = errors(report.findings)
    if refused:
        raise PlanRefused([str(one) for one in refused])
    log = get_run_logger()
    for one in report.findings:
        log.log(logging.WARNING if one.level == "warning" else logging.INFO, "%s", one)
    return report.findings


def _whole(name: str, file: Path, max_seq_length: int | None) -> SplitFacts:
    with file.open("rb") as lines:
        seen = survey(read_lines(lines), max_seq_length)
    return SplitFacts(name=name, rows=seen.rows, survey=seen)


#: Rows and characters of each split that the artifact shows.
SHOWN_ROWS, SHOWN_CHARACTERS = 3, 300


#: Seconds between two updates of the progress bar.
PROGRESS_SECONDS = 1.0


def data_key(context: TaskRunContext, parameters: dict[str, Any]) -> str | None:  # noqa: ARG001
    """Return the cache's key: what the prepared data is made of, and nothing else."""
    digest = parameters["content"] or _digest(parameters)
    return digest and f"prepared-data-{digest}"


@task(
    name="Prepare the data",
    cache_policy=CacheKeyFnPolicy(cache_key_fn=data_key),
    **{**REPEATED, **KEPT},
)
def prepare_data(
    choice: DataChoice, settings: Settings | None = None, content: str | None = None
) -> PreparedData:
    """Write the chosen rows of every split as JSON Lines; the same content is prepared only once.

    ``settings`` are needed for az:// and azureml:// sources. ``content``: the digest of what was
    planned with (``digest_of_inputs``), where nothing else will do. Call it by
    ``preparation(choice)`` to honour ``choice.refresh``.

    Raises:
        DataError: the data is not there, not what was asked for, or not what was planned with.
        DataUnavailable: the source does not answer.
    """
    if content is not None and digest_of_inputs(choice, settings) != content:
        raise DataError(
            f"{choice.title}: the data has changed since the run was planned. Start a new run."
        )
    shown = _Progress()
    prepared = prepare(choice, data_folder(), settings, shown.show)
    for name, file in prepared.files.items():
        get_run_logger().info("%s: %s rows, dropped %s", name, file.rows, file.dropped or "none")
    _publish(prepared)
    return prepared


def preparation(choice: DataChoice) -> Any:
    """Return the task that prepares this choice: cached, or anew where it says ``refresh``."""
    return prepare_data.with_options(refresh_cache=True) if choice.refresh else prepare_data


def data_folder() -> Path:
    """Return where prepared data is kept on this machine."""
    return Path(os.environ.get("FINETUNE_DATA", "var/data")).resolve()


class _Progress:
    """Rows done, as log lines in the terminal and as a bar in the UI; at most once a second."""

    def __init__(self) -> None:
        self.last = time.monotonic()
        self.bar: UUID | None = None

    def show(self, done: int, total: int) -> None:
        now = time.monotonic()
        if done < total and now - self.last < PROGRESS_SECONDS:
            return
        self.last = now
        share = 100.0 * done / total
        get_run_logger().info("read %s of %s rows (%.0f %%)", done, total, share)
        if self.bar is None:
            self.bar = create_progress_artifact(  # type: ignore[assignment]  # not in a coroutine
                share, key="data-progress", description="Rows prepared"
            )
        else:
            update_progress_artifact(self.bar, share)


def _publish(prepared: PreparedData) -> None:
    """Show the row counts and the first rows in the UI."""
    what = f"{prepared.dataset} at {prepared.commit[:10]}"
    create_table_artifact(
        [
            {"split": name, "rows": file.rows, "bytes": file.bytes, "dropped": str(file.dropped)}
            for name, file in prepared.files.items()
        ],
        key="data-rows",
        description=f"Rows of {what}",
    )
    create_table_artifact(
        [row for name in prepared.splits for row in _first_rows(name, prepared.file(name))],
        key="data-first-rows",
        description=f"First rows of {what}",
    )


def _first_rows(split: str, file: Path) -> list[dict[str, Any]]:
    with file.open(encoding="utf-8") as lines:
        first = [json.loads(line) for line, _ in zip(lines, range(SHOWN_ROWS), strict=False)]
    return [
        {
            "split": split,
            "prompt": row["prompt"][:SHOWN_CHARACTERS],
            "messages": len(row["messages"]),
            "answer": row["messages"][-1]["content"][:SHOWN_CHARACTERS],
        }
        for row in first
    ]
