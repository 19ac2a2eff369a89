"""Gate: the conversations' rows are counted and a bounded sample of each split is looked at.

Only footers and the first rows are read; the whole files are checked after they are prepared.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

from prefect import get_run_logger

from tasks.retries import azure_step
from workspace.conversations import read_lines, survey
from workspace.dataset import DataChoice, PreparedData
from workspace.drafting import TEST, TRAIN
from workspace.errors import DataError, PlanRefused
from workspace.findings import Finding, Report, errors
from workspace.judging.data import SplitFacts, judge_data
from workspace.plan import Plan

if TYPE_CHECKING:
    from huggingface_hub import HfFileSystem

#: Rows of each split that are looked at.
SAMPLE = 400


@azure_step("Gate: the conversations", tags={"gate", "plan", "data"})
def look_at_data(choice: DataChoice, max_seq_length: int | None) -> dict[str, SplitFacts]:
    """Count the rows that the run would take of every split, and look at the first of them.

    Raises:
        DataError: the dataset or a split is not there, or cannot be read.
    """
    from huggingface_hub import HfFileSystem
    from huggingface_hub.errors import HfHubHTTPError, RepositoryNotFoundError

    hub = HfFileSystem(endpoint=os.environ.get("HF_ENDPOINT"))
    try:
        files = _files(hub, choice)
        with ThreadPoolExecutor(len(files)) as pool:
            looked = pool.map(
                lambda split: _look(hub, split, files[split], choice, max_seq_length), files
            )
            return {facts.name: facts for facts in looked}
    except (RepositoryNotFoundError, FileNotFoundError) as error:
        raise DataError(
            f"Dataset '{choice.dataset}' is not on the Hub, or may not be read. "
            "Check run.data.dataset and run.data.revision, or set HF_TOKEN."
        ) from error
    except (HfHubHTTPError, OSError) as error:
        raise DataError(
            f"Dataset '{choice.dataset}' cannot be read: {' '.join(str(error).split())[:300]}"
        ) from error


@azure_step("Gate: the prepared data", tags={"gate", "data"})
def check_prepared_data(data: PreparedData, plan: Plan) -> list[Finding]:
    """Look at every row of the prepared files, before anything is submitted.

    Raises:
        PlanRefused: the data cannot be trained on; names line and field.
    """
    report = Report("data")
    limit = plan.max_seq_length
    splits = {name: _whole(name, file.path, limit) for name, file in data.files.items()}
    judge_data(splits, TRAIN, TEST, plan.rows_per_step, report)
    refused = errors(report.findings)
    if refused:
        raise PlanRefused([str(one) for one in refused])
    log = get_run_logger()
    for one in report.findings:
        log.log(logging.WARNING if one.level == "warning" else logging.INFO, "%s", one)
    return report.findings


def _whole(name: str, path: str, limit: int | None) -> SplitFacts:
    with Path(path).open("rb") as lines:
        seen = survey(read_lines(lines), limit)
    return SplitFacts(name=name, rows=seen.rows, survey=seen)


def _files(hub: HfFileSystem, choice: DataChoice) -> dict[str, list[str]]:
    """Return the parquet files of each split; a file's name begins with its split's."""
    root = f"datasets/{choice.dataset}"
    if choice.revision:
        root = f"{root}@{choice.revision}"
    found = sorted(str(one) for one in hub.find(root) if str(one).endswith(".parquet"))
    by_split: dict[str, list[str]] = {}
    for file in found:
        by_split.setdefault(file.rsplit("/", 1)[-1].split("-0")[0], []).append(file)
    missing = [split for split in choice.splits if split not in by_split]
    if missing:
        raise DataError(
            f"Dataset '{choice.dataset}' has no split {', '.join(missing)}. "
            f"It has {', '.join(by_split) or 'no parquet files'}; choose with run.data.splits."
        )
    return {split: by_split[split] for split in choice.splits}


def _look(
    hub: HfFileSystem,
    split: str,
    files: list[str],
    choice: DataChoice,
    max_seq_length: int | None,
) -> SplitFacts:
    import pyarrow.parquet as parquet

    total = 0
    sample: list[dict[str, Any]] = []
    for file in files:
        with hub.open(file) as opened:
            table = parquet.ParquetFile(opened)
            total += table.metadata.num_rows
            if not sample:
                sample = list(_first(table, SAMPLE))
    rows = round(total * choice.percentage / 100)
    return SplitFacts(name=split, rows=rows, survey=survey(sample[:rows], max_seq_length))


def _first(table: Any, most: int) -> Iterator[dict[str, Any]]:
    for batch in table.iter_batches(batch_size=most):
        yield from batch.to_pylist()
        return
