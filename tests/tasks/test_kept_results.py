"""Results that are kept: read back as they were, and never a way to run code on a worker."""

from __future__ import annotations

import base64
import importlib
import json
import pickle
import pkgutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from prefect import Flow, Task, flow
from prefect.client.schemas.objects import State
from prefect.results import ResultRecord
from prefect.settings import get_current_settings

from finetuning.conversations.write import digest_of_inputs
from finetuning.errors import ResultRefused
from finetuning.form.data import DataChoice, PreparedData
from tasks.data import prepare_data
from tasks.kept_results import TYPE, KeptJson, KeptResults
from tests.conftest import environment

ROW = {"prompt": "a", "prompt_id": "1", "messages": [{"content": "a", "role": "user"}]}


class _Trap:
    """What a pickle of it does when it is read."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[Any, ...]:
        return (open, (str(self.marker), "w"))


def pickled(marker: Path) -> str:
    return base64.encodebytes(pickle.dumps(_Trap(marker))).decode()


def called(marker: Path) -> str:
    command = f"touch {marker}"
    return json.dumps({"__class__": "subprocess.getoutput", "data": {"cmd": command}})


def record(serializer: Any, result: str) -> str:
    return json.dumps({"metadata": {"serializer": serializer}, "result": result})


#: Records that run something in whoever reads them with Prefect alone.
TRAPS: dict[str, Callable[[Path], str]] = {
    "a pickle": lambda marker: record({"type": "pickle"}, pickled(marker)),
    "no serializer": lambda marker: json.dumps({"metadata": {}, "result": pickled(marker)}),
    "the old form": lambda marker: json.dumps(
        {"serializer": {"type": "pickle"}, "data": pickled(marker)}
    ),
    "a second serializer": lambda marker: json.dumps(
        {
            "metadata": {"serializer": {"type": TYPE}},
            "serializer": {"type": "pickle"},
            "data": pickled(marker),
        }
    ),
    "Prefect's own JSON": lambda marker: record({"type": "json"}, called(marker)),
    "JSON in a wrapper": lambda marker: record(
        {"type": "json", "object_decoder": "prefect.serializers.prefect_json_object_decoder"},
        called(marker),
    ),
}
#: Records that are only broken.
BROKEN: dict[str, str] = {
    "nothing": "",
    "a page of a proxy": "<html>502</html>",
    "half a record": '{"metadata": {"serializer": {"type": "fine-tune-json"}}, "res',
    "another shape": record({"type": TYPE}, '{"shape": "secrets", "value": {}}'),
    "a shape without its fields": record({"type": TYPE}, '{"shape": "plan", "value": {}}'),
    "a list": "[]",
    "more than a type": record({"type": TYPE, "picklelib": "pickle"}, "{}"),
}


@flow
def preparing(wanted: DataChoice) -> State[PreparedData]:
    state: State[PreparedData] = prepare_data(wanted, return_state=True)
    return state


@pytest.fixture
def wanted(prefect_server: None, tmp_path: Path) -> Iterator[DataChoice]:
    (tmp_path / "talk.jsonl").write_text(json.dumps(ROW) + "\n")
    with environment({"FINETUNE_DATA": str(tmp_path / "data")}):
        files = {"train": str(tmp_path / "talk.jsonl")}
        yield DataChoice(files=files, splits=("train",), percentage=100)


def kept(wanted: DataChoice) -> Path:
    """Where the result of preparing this is kept on this machine."""
    name = f"prepared-data-{digest_of_inputs(wanted)}"
    return Path(get_current_settings().results.local_storage_path) / name


@pytest.mark.parametrize("trap", TRAPS)
def test_the_traps_are_live_where_prefect_reads_them_alone(trap: str, tmp_path: Path) -> None:
    marker = tmp_path / "executed"

    ResultRecord.deserialize(TRAPS[trap](marker).encode())

    assert marker.exists()


def test_what_is_planted_is_a_miss_and_nothing_of_it_runs(
    wanted: DataChoice, tmp_path: Path
) -> None:
    marker = tmp_path / "executed"
    first = preparing(wanted)
    assert preparing(wanted).name == "Cached"
    place = kept(wanted)
    for planted in [*(make(marker) for make in TRAPS.values()), *BROKEN.values()]:
        place.write_text(planted)

        again = preparing(wanted)

        assert again.name == "Completed", planted
        assert again.result() == first.result()
        assert not marker.exists(), planted
    assert preparing(wanted).name == "Cached"


def test_a_refused_record_is_named(wanted: DataChoice, tmp_path: Path) -> None:
    preparing(wanted)
    place = kept(wanted)
    place.write_text(TRAPS["a pickle"](tmp_path / "executed"))

    with pytest.raises(ResultRefused, match=place.name):
        KeptResults().read_path(place.name, _sync=True)


def test_what_is_kept_is_json_of_our_shape(wanted: DataChoice, tmp_path: Path) -> None:
    prepared = preparing(wanted).result()
    place = kept(wanted)
    stored = json.loads(place.read_text())

    assert stored["metadata"]["serializer"] == {"type": TYPE}
    assert json.loads(stored["result"])["shape"] == "prepared data"
    assert KeptJson().loads(KeptJson().dumps(prepared)) == prepared


def declared() -> Iterator[Any]:
    """Every flow and task of this project."""
    import flows
    import tasks

    for package in (flows, tasks):
        for found in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
            for one in vars(importlib.import_module(found.name)).values():
                if isinstance(one, Flow | Task):
                    yield one


def test_nothing_of_ours_is_kept_but_by_our_serializer() -> None:
    kept = set()
    for one in declared():
        if one.persist_result is False:
            continue
        assert isinstance(one.result_serializer, KeptJson), one.name
        assert isinstance(one.result_storage, KeptResults), one.name
        kept.add(one.name)

    assert kept == {
        "Pin the plan",
        "Prepare the data",
        "Gate: the conversations",
        "Gate: nothing that is asked was trained on",
    }
