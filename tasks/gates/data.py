"""Gate: the conversations' rows are counted and a bounded sample of each split is looked at.

Only footers and the first chosen rows are read; the files are looked at whole once they are
prepared.
"""

from __future__ import annotations

import logging
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from prefect import get_run_logger
from prefect.cache_policies import CacheKeyFnPolicy
from prefect.context import TaskRunContext

from tasks.retries import azure_step
from workspace.cleaning import to_lines
from workspace.conversations import NAMED, read_lines, survey
from workspace.dataset import DataChoice, PreparedData
from workspace.drafting import TEST, TRAIN
from workspace.errors import PlanRefused
from workspace.findings import Finding, Report, errors
from workspace.judging.data import SplitFacts, judge_data
from workspace.plan import Plan
from workspace.preparation import digest_of_inputs
from workspace.selection import select
from workspace.settings import Settings
from workspace.sources import Source, open_source

#: Rows of each split that are looked at.
SAMPLE = 400


def looked_key(context: TaskRunContext, parameters: dict[str, Any]) -> str:  # noqa: ARG001
    """Return the cache's key: what a split is made of is looked at once, as it is prepared once."""
    digest = digest_of_inputs(parameters["choice"])
    return f"looked-at-{digest}-{parameters['max_seq_length']}"


@azure_step(
    "Gate: the conversations",
    tags={"gate", "plan", "data"},
    cache_policy=CacheKeyFnPolicy(cache_key_fn=looked_key),
    persist_result=True,
)
def look_at_data(
    settings: Settings, choice: DataChoice, max_seq_length: int | None
) -> dict[str, SplitFacts]:
    """Count the rows that the run would take of every split, and look at the first of them.

    Raises:
        DataError: the dataset or a split is not there, or cannot be read.
    """
    source = open_source(choice, settings)
    with ThreadPoolExecutor(len(choice.splits)) as pool:
        looked = pool.map(lambda name: _look(source, name, choice, max_seq_length), choice.splits)
        return {facts.name: facts for facts in looked}


def _look(source: Source, name: str, choice: DataChoice, max_seq_length: int | None) -> SplitFacts:
    split = source.split(choice.split_names.get(name, name))
    selected = select(choice, split.rows)
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


@azure_step("Gate: the prepared data", tags={"gate", "data"})
def check_prepared_data(
    data: PreparedData, plan: Plan, max_bad_share: float = 0.01
) -> list[Finding]:
    """Look at every row of the prepared files, before anything is submitted.

    A file that this machine does not have was prepared, and looked at, on another: it is left out.

    Raises:
        PlanRefused: the data cannot be trained on; names row and field.
    """
    report = Report("data")
    splits = {
        name: _whole(name, Path(file.path), plan.max_seq_length)
        for name, file in data.files.items()
        if file.here
    }
    judge_data(splits, TRAIN, TEST, plan.rows_per_step, max_bad_share, report)
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
