"""What changed at its source is prepared anew, and looked at anew; what did not is not."""

from __future__ import annotations

import json
import os
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from azure.storage.blob import BlobClient
from prefect import flow
from prefect.client.schemas.objects import State

from emulator.configuration import load_identity
from finetuning.azure.settings import load_settings
from finetuning.conversations.write import digest_of_inputs, pinned
from finetuning.errors import DataError, DataUnavailable, FineTuneError
from finetuning.form.data import DataChoice, PreparedData
from finetuning.planning.facts import SplitFacts
from tasks.data import look_at_data, preparation
from tests.conftest import RunningEmulator, environment

ROW = {"prompt": "a", "prompt_id": "1", "messages": [{"content": "a", "role": "user"}]}
CONTAINER = "azureml-blobstore"


def lines(count: int) -> bytes:
    return b"".join(json.dumps(ROW | {"prompt_id": str(i)}).encode() + b"\n" for i in range(count))


@pytest.fixture
def stage(
    azure_env: RunningEmulator, prefect_server: None, tmp_path: Path
) -> Iterator[RunningEmulator]:
    own = {
        "FINETUNE_DATA": str(tmp_path / "data"),
        "PREFECT_LOCAL_STORAGE_PATH": str(tmp_path / "results"),
    }
    with environment(own):
        yield azure_env


@pytest.fixture
def write(stage: RunningEmulator, tmp_path: Path) -> Callable[[str, bytes], str]:
    """Write a source of a kind, again where it is there already; its address."""
    identity = load_identity(stage.state)
    account = f"emulated{identity.id}.blob.core.{identity.id}.azureml.test"
    name = f"weekly-{uuid.uuid4().hex}.jsonl"

    def written(kind: str, content: bytes) -> str:
        if kind == "file":
            (tmp_path / name).write_bytes(content)
            return f"file://{tmp_path / name}"
        with BlobClient(
            f"https://{account}", CONTAINER, name, credential=identity.storage_key
        ) as blob:
            blob.upload_blob(content, overwrite=True)
        if kind == "datastore":
            return f"azureml://datastores/workspaceblobstore/paths/{name}"
        return f"az://{CONTAINER}@{account}/{name}"

    return written


def choice(place: str) -> DataChoice:
    return DataChoice(files={"train": place}, splits=("train",), percentage=100)


@flow
def preparing(wanted: DataChoice, content: str | None = None) -> State[PreparedData]:
    state: State[PreparedData] = preparation(wanted)(
        wanted, load_settings(), content, return_state=True
    )
    return state


@flow
def looking(wanted: DataChoice) -> State[dict[str, SplitFacts]]:
    state: State[dict[str, SplitFacts]] = look_at_data(
        load_settings(), wanted, None, return_state=True
    )
    return state


@pytest.mark.parametrize("kind", ["file", "blob", "datastore"])
def test_a_weekly_source_is_prepared_and_looked_at_anew_when_it_changed_and_only_then(
    write: Callable[[str, bytes], str], kind: str
) -> None:
    wanted = choice(write(kind, lines(2)))
    first, same = preparing(wanted), preparing(wanted)
    seen, seen_again = looking(wanted), looking(wanted)
    write(kind, lines(3))
    second, seen_later = preparing(wanted), looking(wanted)

    assert (first.name, same.name, second.name) == ("Completed", "Cached", "Completed")
    assert (seen.name, seen_again.name, seen_later.name) == ("Completed", "Cached", "Completed")
    assert (first.result().rows, second.result().rows) == ({"train": 2}, {"train": 3})
    assert (seen.result()["train"].rows, seen_later.result()["train"].rows) == (2, 3)


def test_new_content_of_the_same_size_is_seen(write: Callable[[str, bytes], str]) -> None:
    wanted = choice(write("blob", lines(2)))
    first = preparing(wanted).result()
    write("blob", lines(2).replace(b'"a"', b'"b"'))

    assert preparing(wanted).result().version != first.version


def test_a_source_that_refuses_is_an_error_and_no_stale_hit(
    stage: RunningEmulator, write: Callable[[str, bytes], str]
) -> None:
    wanted = choice(write("blob", lines(2)))
    preparing(wanted)
    stage.add_fault(method="HEAD", path=".jsonl", times=500, kind="status", status=403)

    with pytest.raises(FineTuneError, match=wanted.files["train"]):
        preparation(wanted).with_options(retries=0)(wanted, load_settings())


def test_a_source_that_is_gone_is_an_error_and_no_stale_hit(
    write: Callable[[str, bytes], str], tmp_path: Path
) -> None:
    wanted = choice(write("file", lines(2)))
    preparing(wanted)
    Path(wanted.files["train"].removeprefix("file://")).unlink()

    with pytest.raises(DataError, match="does not exist"):
        preparation(wanted)(wanted, load_settings())


def test_a_hub_that_is_away_is_an_error_and_no_stale_hit(stage: RunningEmulator) -> None:
    wanted = DataChoice(splits=("test_gen",), seed=uuid.uuid4().int % 2**40)
    preparing(wanted)

    with environment({"HF_ENDPOINT": "http://127.0.0.1:9"}), pytest.raises(DataUnavailable):
        preparation(wanted).with_options(retries=0)(wanted, load_settings())


def test_a_branch_and_its_commit_are_one_thing_to_the_cache(stage: RunningEmulator) -> None:
    branch = DataChoice(splits=("test_gen",), seed=uuid.uuid4().int % 2**40)
    commit = pinned(branch)

    assert len(commit.revision) == 40
    assert digest_of_inputs(branch) == digest_of_inputs(commit)
    assert (preparing(branch).name, preparing(commit).name) == ("Completed", "Cached")


def test_a_commit_that_is_named_costs_the_hub_no_request(stage: RunningEmulator) -> None:
    import httpx

    def asked() -> int:
        found = httpx.get(f"{os.environ['HF_ENDPOINT']}/_settings", trust_env=False).json()
        return int(found["requests"])

    commit = pinned(DataChoice(splits=("test_gen",)))
    before = asked()
    digest_of_inputs(commit)

    assert asked() == before


def test_a_run_that_begins_again_keeps_what_it_was_planned_with(
    write: Callable[[str, bytes], str],
) -> None:
    wanted = choice(write("blob", lines(2)))
    content = digest_of_inputs(wanted, load_settings())
    preparing(wanted, content)
    write("blob", lines(3))

    again = preparing(wanted, content)

    assert again.name == "Cached"
    assert again.result().rows == {"train": 2}


def test_data_that_changed_between_plan_and_preparation_is_refused(
    write: Callable[[str, bytes], str],
) -> None:
    wanted = choice(write("blob", lines(2)))
    content = digest_of_inputs(wanted, load_settings())
    write("blob", lines(3))

    with pytest.raises(DataError, match="changed since the run was planned"):
        preparation(wanted)(wanted, load_settings(), content)
