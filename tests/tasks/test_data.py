"""The data tasks on a real Prefect server, against the emulator: cached, uploaded once, fetched."""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from prefect import flow
from prefect.client.orchestration import get_client
from prefect.client.schemas.objects import State

from finetuning.azure.ownership import Ownership
from finetuning.azure.settings import Settings, load_settings
from finetuning.errors import DataError, PlanRefused
from finetuning.form.context import RunContext
from finetuning.form.data import DataChoice, PreparedData, PreparedFile
from finetuning.form.run import Deadlines, FineTune
from finetuning.planning.findings import Finding
from tasks.data import check_prepared_data, look_at_data, preparation, prepare_data
from tasks.data_assets import asset_name, fetch_data, upload_data
from tests.conftest import RunningEmulator, environment
from tests.support.plans import plan_of

OWNER = Ownership(flow_run_id="run", key="key", tags={"finetune.flow": "test"})


@pytest.fixture
def stage(
    azure_env: RunningEmulator, prefect_server: None, tmp_path: Path
) -> Iterator[RunningEmulator]:
    """The emulator, a Prefect server, result storage and a data folder of the test's own."""
    own = {
        "FINETUNE_DATA": str(tmp_path / "data"),
        "PREFECT_LOCAL_STORAGE_PATH": str(tmp_path / "results"),
    }
    with environment(own):
        yield azure_env


def choice(**changes: Any) -> DataChoice:
    """Return a choice with a key of its own: the seed is in the key, but not in the head."""
    seed = uuid.uuid4().int % 2**40
    return DataChoice.model_validate({"splits": ("train_sft", "test_gen"), "seed": seed} | changes)


@flow
def preparing(wanted: DataChoice) -> State[PreparedData]:
    state: State[PreparedData] = preparation(wanted)(wanted, return_state=True)
    return state


@flow
def uploading(settings: Settings, data: PreparedData) -> dict[str, str]:
    return upload_data(context(settings), data)


@flow
def fetching(settings: Settings, data: PreparedData, split: str) -> str:
    return fetch_data(context(settings), data, split).path


def context(settings: Settings) -> RunContext:
    return RunContext(settings=settings, owner=OWNER, deadlines=Deadlines())


def requests(emulator: RunningEmulator, after: int, part: str) -> list[dict[str, Any]]:
    return [one for one in emulator.requests(after) if part in one["path"] or part in one["host"]]


def last(emulator: RunningEmulator) -> int:
    return max((one["index"] for one in emulator.requests()), default=0)


def hub_traffic() -> int:
    import os

    import httpx

    found = httpx.get(f"{os.environ['HF_ENDPOINT']}/_settings", trust_env=False).json()
    return int(found["requests"])


def test_the_second_run_prepares_nothing_and_asks_the_hub_for_its_commit_only(
    stage: RunningEmulator,
) -> None:
    wanted = choice()
    first = preparing(wanted)
    asked = hub_traffic()

    second = preparing(wanted)

    assert (first.name, second.name) == ("Completed", "Cached")
    assert second.result() == first.result()
    assert first.result().rows == {"train_sft": 70, "test_gen": 30}
    assert hub_traffic() == asked + 1


def test_refresh_prepares_again_and_the_next_run_takes_that(stage: RunningEmulator) -> None:
    wanted = choice()
    first = preparing(wanted)
    asked = hub_traffic()

    again = preparing(wanted.model_copy(update={"refresh": True}))
    third = preparing(wanted)

    assert (again.name, third.name) == ("Completed", "Cached")
    assert hub_traffic() > asked
    assert again.result().version == first.result().version == third.result().version


def test_a_changed_local_file_is_prepared_anew(stage: RunningEmulator, tmp_path: Path) -> None:
    file = tmp_path / "talk.jsonl"
    row = {"prompt": "a", "prompt_id": "1", "messages": [{"content": "a", "role": "user"}]}
    file.write_text(json.dumps(row) + "\n")
    wanted = DataChoice(files={"train": str(file)}, splits=("train",), percentage=100)
    first = preparing(wanted)
    file.write_text(json.dumps(row) + "\n" + json.dumps(row | {"prompt_id": "2"}) + "\n")

    second = preparing(wanted)

    assert (first.result().rows, second.result().rows) == ({"train": 1}, {"train": 2})


def test_the_row_counts_and_the_first_rows_are_shown(stage: RunningEmulator) -> None:
    prepared = preparing(choice()).result()

    with get_client(sync_client=True) as client:
        shown = {one.key: str(one.data) for one in client.read_latest_artifacts()}
    counts = json.loads(shown["data-rows"])
    first = json.loads(shown["data-first-rows"])
    assert {one["split"]: one["rows"] for one in counts} == prepared.rows
    line = prepared.file("train_sft").read_text("utf-8").splitlines()[0]
    assert first[0]["prompt"] == json.loads(line)["prompt"][:300]
    assert "data-progress" in shown


def test_the_same_bytes_are_uploaded_once(stage: RunningEmulator) -> None:
    settings, prepared = load_settings(), preparing(choice(percentage=3)).result()

    first = uploading(settings, prepared)
    mark = last(stage)
    second = uploading(settings, prepared)

    assert first == second and set(first) == {"train_sft", "test_gen"}
    assert prepared.files["train_sft"].sha256[:16] in first["train_sft"]
    assert requests(stage, mark, ".blob.") == []
    assert [one for one in stage.requests(mark) if one["method"] == "PUT"] == []


def test_a_file_that_another_worker_made_comes_back_from_its_asset(
    stage: RunningEmulator, tmp_path: Path
) -> None:
    settings, prepared = load_settings(), preparing(choice(percentage=4)).result()
    uploading(settings, prepared)
    before, asked = prepared.file("test_gen").read_bytes(), hub_traffic()

    with environment({"FINETUNE_DATA": str(tmp_path / "other")}):
        prepared.file("test_gen").unlink()
        path = fetching(settings, prepared, "test_gen")

    assert Path(path).read_bytes() == before
    assert Path(path).is_relative_to(tmp_path / "other")
    assert hub_traffic() == asked


def test_a_file_without_an_asset_is_made_again_from_its_commit(stage: RunningEmulator) -> None:
    settings, prepared = load_settings(), preparing(choice(percentage=2)).result()
    before = prepared.file("test_gen").read_bytes()
    prepared.file("test_gen").unlink()

    path = fetching(settings, prepared, "test_gen")

    assert Path(path).read_bytes() == before


def test_an_asset_is_a_source_like_any_other(stage: RunningEmulator) -> None:
    from finetuning.azure.client import open_client

    settings, prepared = load_settings(), preparing(choice(percentage=6)).result()
    uploading(settings, prepared)
    version = prepared.files["train_sft"].sha256[:16]
    asset = open_client(settings).data.get(asset_name(prepared, "train_sft"), version=version)
    again = choice(files={"train_sft": asset.path}, splits=("train_sft",), percentage=100)

    from_azure = prepare_data(again, settings)

    assert from_azure.files["train_sft"].sha256 == prepared.files["train_sft"].sha256


def test_an_address_that_leads_nowhere_is_named(stage: RunningEmulator) -> None:
    address = "azureml://datastores/workspaceblobstore/paths/no/such.jsonl"

    with pytest.raises(DataError, match=r"no/such\.jsonl' does not exist"):
        prepare_data(choice(files={"train": address}, splits=("train",)), load_settings())


def test_bad_input_fails_at_once_and_is_not_tried_again(stage: RunningEmulator) -> None:
    asked = hub_traffic()

    with pytest.raises(DataError, match=r"Split 'valid' is not in dataset"):
        prepare_data(choice(splits=("valid",)))
    assert hub_traffic() - asked < 6


def test_rows_are_counted_and_few_are_looked_at(settings: Settings) -> None:
    found = look_at_data.fn(settings, DataChoice(percentage=50), None)

    assert {name: facts.rows for name, facts in found.items()} == {
        "train_sft": 700, "test_sft": 300, "train_gen": 700, "test_gen": 300,
    }  # fmt: skip
    assert found["train_sft"].survey.rows == 400
    assert found["train_sft"].survey.malformed == 0
    assert found["train_sft"].tokens > found["train_sft"].survey.tokens


def test_long_conversations_are_counted_against_the_longest_sequence(settings: Settings) -> None:
    found = look_at_data.fn(settings, DataChoice(percentage=5), 64)

    assert found["train_sft"].survey.over_long > 0


@pytest.mark.parametrize(
    ("choice", "said"),
    [
        ({"dataset": "nobody/nothing"}, "'nobody/nothing' is not on the Hub"),
        ({"revision": "no-such-branch"}, "run.data.revision"),
        ({"splits": ("train_sft", "validation")}, "Split 'validation' is not in dataset"),
    ],
)
def test_data_that_is_not_there_is_named(
    settings: Settings, choice: dict[str, Any], said: str
) -> None:
    with pytest.raises(DataError, match=said):
        look_at_data.fn(settings, DataChoice(**choice), None)


def test_a_missing_split_is_refused_with_those_that_are_there(settings: Settings) -> None:
    look: Callable[..., Any] = look_at_data.fn

    with pytest.raises(DataError, match="which has: train_sft, test_sft"):
        look(settings, DataChoice(splits=("validation",)), None)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    rows = [
        {
            "prompt": f"What is {number} and one?",
            "messages": [
                {"role": "user", "content": f"What is {number} and one?"},
                {"role": "assistant", "content": f"It is {number + 1}."},
            ],
            "prompt_id": str(number),
        }
        for number in range(16)
    ]
    place = tmp_path / "rows.jsonl"
    place.write_text("\n".join(json.dumps(row) for row in rows) + "\n")
    return place


@flow
def check(data: PreparedData) -> list[Finding]:
    return check_prepared_data(data, plan_of(FineTune(key="checked"), rows_per_step=8))


def test_prepared_data_with_broken_rows_is_refused_before_the_job(
    stage: RunningEmulator, file: Path
) -> None:
    broken = file.read_text().replace('"role": "assistant"', '"role": "robot"', 3)
    file.write_text(broken)
    started = stage.summary()["jobs_started"]

    with pytest.raises(PlanRefused, match=r"row 1: field 'messages\[1\]\.role'"):
        check(prepared(file))

    assert stage.summary()["jobs_started"] == started


def test_prepared_data_with_too_few_rows_for_a_step_is_refused(
    stage: RunningEmulator, file: Path
) -> None:
    file.write_text("".join(file.read_text().splitlines(keepends=True)[:7]))

    with pytest.raises(PlanRefused, match="7 rows; one training step needs 8"):
        check(prepared(file))


def test_good_prepared_data_is_looked_at_whole(stage: RunningEmulator, file: Path) -> None:
    found = check(prepared(file))

    assert any("16 rows, all of them checked" in one.what for one in found)


def prepared(file: Path) -> PreparedData:
    rows = len(file.read_text().splitlines())
    made = PreparedFile(path=str(file), rows=rows, bytes=file.stat().st_size, sha256="")
    return PreparedData(
        dataset="a/test",
        commit="",
        version="1",
        manifest="",
        choice=DataChoice(),
        files={"train_sft": made, "test_sft": made},
    )
