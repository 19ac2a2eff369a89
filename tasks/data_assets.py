"""Data assets: prepared files uploaded once as versions, and brought back where they are missing.

Files that a cached result names but this machine lacks come back from the uploaded asset, or are
made again from the pinned commit: the same bytes, which their hash proves.
"""

from __future__ import annotations

import hashlib
import re
import shutil
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from prefect import get_run_logger

from finetuning.azure.client import open_client
from finetuning.azure.service_errors import look_up
from finetuning.azure.settings import Settings
from finetuning.conversations.sources.files import download
from finetuning.conversations.write import prepare
from finetuning.errors import DataError
from finetuning.form.context import RunContext
from finetuning.form.data import PreparedData, PreparedFile
from tasks.data import data_folder
from tasks.step import azure_step


@azure_step("Upload the data")
def upload_data(context: RunContext, data: PreparedData) -> dict[str, str]:
    """Return the id of each split's data asset; what is there already is not uploaded again.

    A version is made of the content's hash, so job and model point at exactly these bytes.
    """

    def upload(split: str) -> str:
        return _asset(context, data, split)

    log = get_run_logger()
    with ThreadPoolExecutor(len(data.splits)) as pool:
        ids = dict(zip(data.splits, pool.map(upload, data.splits), strict=True))
    log.info("data assets: %s", ", ".join(ids.values()))
    return ids


@azure_step("Bring the data here")
def fetch_data(context: RunContext, data: PreparedData, split: str) -> PreparedFile:
    """Return a split's file that is on this machine: as it is, from its asset, or made again."""
    return present(context.settings, data, split)


def _asset(context: RunContext, data: PreparedData, split: str) -> str:
    """Return the id of the split's asset, the one there or a new one."""
    from azure.ai.ml.constants import AssetTypes
    from azure.ai.ml.entities import Data
    from azure.core.exceptions import ResourceExistsError

    settings = context.settings
    client = open_client(settings)
    name, version = asset_name(data, split), data.files[split].sha256[:16]
    if found := look_up(client.data.get, name, version=version):
        return str(found.id)
    file = present(settings, data, split)
    tags = {"source": data.dataset[:200], "commit": data.commit, "rows": str(file.rows)}
    asset = Data(
        name=name,
        version=version,
        type=AssetTypes.URI_FILE,
        path=file.path,
        description=f"{split} of {data.dataset[:200]}, {file.rows} rows",
        tags={**context.owner.tags, **tags},
    )
    try:
        return str(client.data.create_or_update(asset).id)
    except ResourceExistsError:
        # Another run with the same bytes was just faster, or our own upload arrived and only its
        # answer was lost: then the blob is there, and the asset is still to be made.
        if found := look_up(client.data.get, name, version=version):
            return str(found.id)
        return str(client.data.create_or_update(asset).id)


def asset_name(data: PreparedData, split: str) -> str:
    """Return the name of a split's asset: the dataset's and the split's, in Azure's letters."""
    return re.sub(r"[^A-Za-z0-9._-]", "-", f"{data.choice.title}-{split}")[:255]


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
    found = look_up(
        open_client(settings).data.get, asset_name(data, split), version=file.sha256[:16]
    )
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
            raise DataError(f"Data asset {place} does not hold what was uploaded. Delete it.")
        part.replace(target)
    finally:
        shutil.rmtree(part.parent, ignore_errors=True)


def _made_again(settings: Settings, data: PreparedData, split: str) -> PreparedFile:
    again = prepare(data.choice, data_folder(), settings)
    if again.version != data.version:
        raise DataError(
            f"{data.dataset} has changed since it was cached. "
            "Set run.data.refresh to use the new version."
        )
    return again.files[split]
