"""Data: prepare the conversations as JSON Lines, upload them once as a versioned asset."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

from prefect import get_run_logger, task
from prefect.artifacts import create_table_artifact

from tasks.retries import azure_step, when_transient
from workspace.client import open_client
from workspace.dataset import DataChoice, PreparedData, PreparedFile
from workspace.settings import Settings
from workspace.types import Ownership


@task(
    name="Prepare the data",
    tags={"data"},
    retries=2,
    retry_delay_seconds=[5, 30],
    retry_condition_fn=when_transient,
)
def prepare_data(choice: DataChoice) -> PreparedData:
    """Write the chosen share of every split as JSON Lines in the tutorial's schema."""
    from datasets import load_dataset

    folder = Path(os.environ.get("FINETUNE_DATA", "var/data")).resolve()
    folder.mkdir(parents=True, exist_ok=True)
    files = {}
    for split in choice.splits:
        some = load_dataset(
            choice.dataset, split=f"{split}[0%:{choice.percentage:g}%]", revision=choice.revision
        )
        path = folder / f"{split}.jsonl"
        some.to_json(path)
        files[split] = _described(path, some.num_rows)
    version = hashlib.sha256("".join(f.sha256 for f in files.values()).encode()).hexdigest()[:16]
    create_table_artifact(
        [{"split": name, "rows": file.rows} for name, file in files.items()], key="data-rows"
    )
    return PreparedData(dataset=choice.dataset, commit="", version=version, files=files)


def _described(path: Path, rows: int) -> PreparedFile:
    content = path.read_bytes()
    digest = hashlib.sha256(content).hexdigest()
    return PreparedFile(path=str(path), rows=rows, bytes=len(content), sha256=digest)


@azure_step("Upload the data", tags={"azure", "data"})
def upload_data(settings: Settings, data: PreparedData, owner: Ownership) -> dict[str, str]:
    """Return the data asset of each split; what is there already is not uploaded again."""
    from azure.ai.ml.entities import Data
    from azure.core.exceptions import ResourceNotFoundError

    client = open_client(settings)
    ids = {}
    for split, file in data.files.items():
        name, version = f"ultrachat-{split}".replace("_", "-"), file.sha256[:16]
        try:
            found = client.data.get(name, version=version)
        except ResourceNotFoundError:
            get_run_logger().info("uploading %s (%s bytes)", split, file.bytes)
            found = client.data.create_or_update(
                Data(name=name, version=version, type="uri_file", path=file.path, tags=owner.tags)
            )
        ids[split] = str(found.id)
    return ids
