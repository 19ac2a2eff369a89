"""The Hub stand-in, spoken to by the unmodified ``huggingface_hub`` and ``datasets``."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from huggingface_hub import HfApi, HfFileSystem, RepoFile
from huggingface_hub import errors as hub_errors

from emulator.services.hub.conversations import DATASET, SPLITS, make_dataset
from emulator.services.hub.link import Fault
from emulator.services.hub.transfer import wanted
from tests.conftest import CACHE
from tests.hub_server import RunningHub, running_hub, write_dataset

FILE = "data/test_gen-00000-of-00001.parquet"


@pytest.fixture(scope="module")
def shared() -> Iterator[RunningHub]:
    with running_hub(CACHE) as found:
        yield found


@pytest.fixture
def hub(shared: RunningHub) -> RunningHub:
    shared.link.faults = []
    shared.link.bytes_per_second = None
    shared.link.sent = shared.link.requests = 0
    return shared


@pytest.fixture
def api(hub: RunningHub) -> HfApi:
    return HfApi(endpoint=hub.url, token=False)


def download(hub: RunningHub, path: str, **headers: str) -> httpx.Response:
    url = f"{hub.url}/datasets/{DATASET}/resolve/main/{path}"
    return httpx.get(url, headers=headers, follow_redirects=True)


LOAD = """
import json, datasets
loaded = datasets.load_dataset("HuggingFaceH4/ultrachat_200k")
rows = {name: split.num_rows for name, split in loaded.items()}
print(json.dumps([rows, loaded["train_sft"][0]]))
"""


def test_datasets_loads_every_split_with_no_more_than_hf_endpoint(
    hub: RunningHub, tmp_path: Path
) -> None:
    env = {**os.environ, "HF_ENDPOINT": hub.url, "HF_HOME": str(tmp_path)}
    found = subprocess.run(
        [sys.executable, "-c", LOAD], env=env, capture_output=True, text=True, timeout=120
    )

    assert found.returncode == 0, found.stderr[-2000:]
    rows, first = json.loads(found.stdout)
    assert rows == SPLITS
    assert set(first) == {"prompt", "prompt_id", "messages"}
    assert [message["role"] for message in first["messages"]][:2] == ["user", "assistant"]
    assert first["messages"][0]["content"] == first["prompt"]


def test_a_branch_resolves_to_a_commit_and_the_commit_to_itself(
    hub: RunningHub, api: HfApi
) -> None:
    commit = api.dataset_info(DATASET).sha

    assert commit is not None and len(commit) == 40
    assert api.dataset_info(DATASET, revision=commit).sha == commit
    assert api.list_repo_refs(DATASET, repo_type="dataset").branches[0].target_commit == commit
    assert api.list_repo_commits(DATASET, repo_type="dataset")[0].commit_id == commit


def test_another_push_is_another_commit_and_the_first_one_stays(
    hub: RunningHub, api: HfApi, tmp_path: Path
) -> None:
    first = hub.hub.add("team/talks", write_dataset(tmp_path / "a", {"train": [{"x": 1}]}))
    second = hub.hub.add("team/talks", write_dataset(tmp_path / "b", {"train": [{"x": 2}]}))

    assert first.id != second.id
    assert api.dataset_info("team/talks").sha == second.id
    assert api.dataset_info("team/talks", revision=first.id).sha == first.id


def test_a_file_system_reads_a_part_and_only_that_part_travels(hub: RunningHub) -> None:
    files = HfFileSystem(endpoint=hub.url, token=False, skip_instance_cache=True)
    whole = (make_dataset(CACHE / "hub" / "ultrachat_200k") / FILE).read_bytes()

    with files.open(f"datasets/{DATASET}/{FILE}", cache_type="none") as content:
        content.seek(100)
        part = content.read(200)

    assert part == whole[100:300]
    assert hub.link.sent < 10_000 < len(whole)


def test_the_tree_lists_folders_files_sizes_and_hashes(hub: RunningHub, api: HfApi) -> None:
    top = {entry.path for entry in api.list_repo_tree(DATASET, repo_type="dataset")}
    [info] = api.get_paths_info(DATASET, [FILE], repo_type="dataset")

    assert top == {"data", "README.md"}
    assert isinstance(info, RepoFile) and info.lfs is not None
    assert len(info.lfs.sha256) == 64
    assert info.size == len(download(hub, FILE).content)


@pytest.mark.parametrize(
    ("asked", "status", "length"),
    [("bytes=0-9", 206, 10), ("bytes=-4", 206, 4), ("bytes=5-", 206, None), ("lines=1", 200, None)],
)
def test_a_range_is_answered_as_http_has_it(
    hub: RunningHub, asked: str, status: int, length: int | None
) -> None:
    whole = download(hub, "README.md").content
    answer = download(hub, "README.md", Range=asked)

    assert answer.status_code == status
    begin, end = wanted(asked, len(whole)) or (0, 0)
    assert answer.content == whole[begin:end]
    assert length is None or len(answer.content) == length


def test_a_range_past_the_end_is_refused(hub: RunningHub) -> None:
    assert download(hub, "README.md", Range="bytes=999999-").status_code == 416


def test_what_is_not_there_is_told_as_the_hub_tells_it(hub: RunningHub, api: HfApi) -> None:
    with pytest.raises(hub_errors.RepositoryNotFoundError):
        api.dataset_info("nobody/nothing")
    with pytest.raises(hub_errors.RevisionNotFoundError):
        api.dataset_info(DATASET, revision="no-such-branch")
    with pytest.raises(hub_errors.RemoteEntryNotFoundError):
        api.hf_hub_download(DATASET, "no-such-file.txt", repo_type="dataset")


def test_a_private_dataset_wants_its_token(hub: RunningHub, tmp_path: Path) -> None:
    folder = write_dataset(tmp_path / "files", {"train": [{"x": 1}]})
    hub.hub.add("team/secret", folder, token="hf_right")

    assert HfApi(endpoint=hub.url, token="hf_right").dataset_info("team/secret").private
    with pytest.raises(hub_errors.RepositoryNotFoundError):
        HfApi(endpoint=hub.url, token=False).dataset_info("team/secret")
    with pytest.raises(hub_errors.HfHubHTTPError, match="403"):
        HfApi(endpoint=hub.url, token="hf_wrong").dataset_info("team/secret")


def test_a_large_file_needs_its_signed_link(hub: RunningHub) -> None:
    first = httpx.get(f"{hub.url}/datasets/{DATASET}/resolve/main/{FILE}")
    link = first.headers["location"]

    assert first.status_code == 302
    assert httpx.get(link).status_code == 200
    assert httpx.get(link[:-1] + ("0" if link[-1] != "0" else "1")).status_code == 403


def test_a_dropped_connection_is_an_error_for_a_client_that_does_not_repeat(
    hub: RunningHub,
) -> None:
    hub.link.faults = [Fault("drop", path="parquet", after_bytes=1000)]

    with pytest.raises(httpx.RemoteProtocolError):
        download(hub, FILE)
    assert download(hub, FILE).status_code == 200


def test_a_held_line_takes_its_time_and_counts_its_bytes(hub: RunningHub) -> None:
    size = len(download(hub, FILE).content)
    hub.link.sent, hub.link.bytes_per_second = 0, size / 0.4
    began = time.monotonic()

    download(hub, FILE)

    assert time.monotonic() - began >= 0.35  # a lower bound: the line cannot be faster than held
    assert hub.link.sent == size


def test_settings_travel_over_http_and_a_wrong_fault_is_refused(hub: RunningHub) -> None:
    answer = httpx.put(f"{hub.url}/_settings", json={"bytes_per_second": 1e6})
    wrong = httpx.put(f"{hub.url}/_settings", json={"faults": [{"kind": "gremlins"}]})

    assert answer.json()["bytes_per_second"] == 1e6
    assert wrong.status_code == 400 and "gremlins" in wrong.json()["error"]


def test_the_conversations_are_the_same_bytes_each_time_they_are_made(tmp_path: Path) -> None:
    one, two = make_dataset(tmp_path / "one"), make_dataset(tmp_path / "two")

    names = sorted(str(path.relative_to(one)) for path in one.rglob("*") if path.is_file())
    assert len(names) == len(SPLITS) + 1
    assert all((one / name).read_bytes() == (two / name).read_bytes() for name in names)
    assert list((tmp_path / "one").glob(".making-*")) == []
