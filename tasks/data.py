"""Data: prepare the conversations as JSON Lines, upload them once as versioned assets.

Prefect's cache decides whether anything is prepared at all. Its key is made of what the manifest's
inputs are, so it costs no request, and is the same on every worker that shares the result storage.
Files that a cached result names but this machine lacks come back from the uploaded asset, or are
made again from the pinned commit: the same bytes, which their hash proves.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import UUID

from prefect import get_run_logger
from prefect.artifacts import (
    create_progress_artifact,
    create_table_artifact,
    update_progress_artifact,
)
from prefect.cache_policies import CacheKeyFnPolicy
from prefect.context import TaskRunContext

from tasks.retries import REPEATED, azure_step, step
from workspace.client import open_client
from workspace.dataset import DataChoice, PreparedData, PreparedFile
from workspace.errors import DataError
from workspace.preparation import digest_of_inputs, prepare
from workspace.settings import Settings
from workspace.sources.files import download
from workspace.types import Ownership

if TYPE_CHECKING:
    from azure.ai.ml import MLClient

#: Rows and characters of each split that the artifact shows.
SHOWN_ROWS, SHOWN_CHARACTERS = 3, 300
#: Seconds between two updates of the progress bar.
PROGRESS_SECONDS = 1.0


def data_key(context: TaskRunContext, parameters: dict[str, Any]) -> str:  # noqa: ARG001
    """Return the cache's key: what the prepared data is made of, and nothing else."""
    return f"prepared-data-{digest_of_inputs(parameters['choice'])}"


@step(
    "Prepare the data",
    tags={"data"},
    cache_policy=CacheKeyFnPolicy(cache_key_fn=data_key),
    persist_result=True,
    **REPEATED,
)
def prepare_data(choice: DataChoice, settings: Settings | None = None) -> PreparedData:
    """Write the chosen rows of every split as JSON Lines; the same choice is prepared only once.

    ``settings`` are needed for az:// and azureml:// sources. Call it by ``preparation(choice)`` to
    honour ``choice.refresh``.

    Raises:
        DataError: the data is not there or not what was asked for.
        DataUnavailable: the source does not answer.
    """
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


@azure_step("Upload the data", tags={"azure", "data"})
def upload_data(settings: Settings, data: PreparedData, owner: Ownership) -> dict[str, str]:
    """Return the id of each split's data asset; what is there already is not uploaded again.

    A version is made of the content's hash, so job and model point at exactly these bytes.
    """

    def upload(split: str) -> str:
        return _asset(settings, data, split, owner)

    log = get_run_logger()
    with ThreadPoolExecutor(len(data.splits)) as pool:
        ids = dict(zip(data.splits, pool.map(upload, data.splits), strict=True))
    log.info("data assets: %s", ", ".join(ids.values()))
    return ids


@azure_step("Bring the data here", tags={"azure", "data"})
def fetch_data(settings: Settings, data: PreparedData, split: str) -> PreparedFile:
    """Return a split's file that is on this machine: as it is, from its asset, or made again."""
    return present(settings, data, split)


def _asset(settings: Settings, data: PreparedData, split: str, owner: Ownership) -> str:
    """Return the id of the split's asset, the one there or a new one."""
    from azure.ai.ml.constants import AssetTypes
    from azure.ai.ml.entities import Data
    from azure.core.exceptions import ResourceExistsError

    client = open_client(settings)
    name, version = asset_name(data, split), data.files[split].sha256[:16]
    if found := _find(client, name, version):
        return str(found.id)
    file = present(settings, data, split)
    tags = {"source": data.dataset[:200], "commit": data.commit, "rows": str(file.rows)}
    asset = Data(
        name=name,
        version=version,
        type=AssetTypes.URI_FILE,
        path=file.path,
        description=f"{split} of {data.dataset[:200]}, {file.rows} rows",
        tags={**owner.tags, **tags},
    )
    try:
        return str(client.data.create_or_update(asset).id)
    except ResourceExistsError:
        # Another run with the same bytes was just faster, or our own upload arrived and only its
        # answer was lost: then the blob is there, and the asset is still to be made.
        if found := _find(client, name, version):
            return str(found.id)
        return str(client.data.create_or_update(asset).id)


def asset_name(data: PreparedData, split: str) -> str:
    """Return the name of a split's asset: the dataset's and the split's, in Azure's letters."""
    dataset = "files" if data.choice.files else data.dataset.split("/")[-1]
    return re.sub(r"[^A-Za-z0-9._-]", "-", f"{dataset}-{split}")[:255]


def _find(client: MLClient, name: str, version: str) -> Any:
    from azure.core.exceptions import ResourceNotFoundError

    try:
        return client.data.get(name, version=version)
    except ResourceNotFoundError:
        return None


def present(settings: Settings, data: PreparedData, split: str) -> PreparedFile:
    """Return the split's file on this machine, with its present path.

    Raises:
        DataError: its asset or its source gives other bytes now.
    """
    file = data.files[split]
    if file.here:
        return file
    here = data_folder() / Path(data.manifest).parent.name / f"{split}.jsonl"
    mine = file.model_copy(update={"path": str(here)})
    if mine.here:
        return mine
    found = _find(open_client(settings), asset_name(data, split), file.sha256[:16])
    if found is None:
        return _made_again(settings, data, split)
    _fetch(str(found.path), mine, settings)
    return mine


def _fetch(place: str, file: PreparedFile, settings: Settings) -> None:
    """Download a file whole or not at all, and hold it against its hash."""
    target = Path(file.path)
    target.parent.mkdir(parents=True, exist_ok=True)
    part = Path(tempfile.mkdtemp(dir=target.parent)) / target.name
    try:
        download(place, part, settings)
        with part.open("rb") as content:
            digest = hashlib.file_digest(content, "sha256").hexdigest()
        if digest != file.sha256:
            raise DataError(f"Data asset {place} holds other bytes than were uploaded. Delete it.")
        part.replace(target)
    finally:
        shutil.rmtree(part.parent, ignore_errors=True)


def _made_again(settings: Settings, data: PreparedData, split: str) -> PreparedFile:
    again = prepare(data.choice, data_folder(), settings)
    if again.version != data.version:
        raise DataError(
            f"{data.dataset} gives other bytes than it did when it was cached. "
            "Set run.data.refresh to take the new ones."
        )
    return again.files[split]
