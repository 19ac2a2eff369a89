"""Preparing data: the same rows as ``datasets`` gives, few bytes, and nothing half-finished."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from emulator.services.hub.link import Fault
from finetuning.conversations.selection import rows_of_percentage, select
from finetuning.conversations.write import prepare
from finetuning.errors import DataError, DataUnavailable
from finetuning.form.data import Columns, DataChoice, Filters, PreparedData
from tests.conftest import CACHE, ROOT, environment
from tests.hub_server import RunningHub, running_hub, write_dataset

Row = dict[str, Any]


def conversation(number: int, turns: int = 2, text: str = 'naïve "quoted" 🙂 a/b\n') -> Row:
    messages = [
        {"content": f"{text}{number}.{turn}", "role": "assistant" if turn % 2 else "user"}
        for turn in range(turns)
    ]
    return {"prompt": messages[0]["content"], "prompt_id": f"{number:064}", "messages": messages}


def rows(count: int, **options: Any) -> list[Row]:
    return [conversation(number, **options) for number in range(count)]


def read(prepared: PreparedData, split: str) -> list[Row]:
    return [json.loads(line) for line in prepared.file(split).read_text("utf-8").splitlines()]


@pytest.fixture(scope="module")
def shared() -> Iterator[RunningHub]:
    with running_hub(CACHE) as found, environment({"HF_ENDPOINT": found.url}):
        yield found


@pytest.fixture
def hub(shared: RunningHub) -> RunningHub:
    shared.link.faults = []
    shared.link.sent = shared.link.requests = 0
    return shared


def local(tmp_path: Path, content: list[Row], **options: Any) -> DataChoice:
    """Return a choice of one local parquet file with these rows."""
    file = tmp_path / "rows.parquet"
    table = pa.Table.from_pylist(content) if isinstance(content, list) else content
    pq.write_table(table, file, row_group_size=options.pop("row_group_size", 7))
    given_files = {"files": {"train": str(file)}, "splits": ("train",), "percentage": 100}
    return DataChoice.model_validate(given_files | options)


@settings(deadline=None)
@given(
    percentage=st.one_of(st.floats(0, 100, exclude_min=True), st.integers(1, 100)),
    total=st.integers(0, 600_000),
)
def test_a_percentage_is_rounded_as_datasets_rounds_it(percentage: float, total: int) -> None:
    from datasets import ReadInstruction

    instruction = ReadInstruction("train", from_=0, to=percentage, unit="%")
    [absolute] = instruction.to_absolute({"train": total})

    assert rows_of_percentage(percentage, total) == absolute.to - absolute.from_


@settings(
    max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    percentage=st.integers(1, 100),
    count=st.integers(1, 90),
    group=st.integers(1, 40),
    turns=st.integers(1, 5),
    text=st.text(st.characters(codec="utf-8"), max_size=20),
)
def test_rows_and_json_are_those_of_datasets(
    tmp_path_factory: pytest.TempPathFactory,
    percentage: int,
    count: int,
    group: int,
    turns: int,
    text: str,
) -> None:
    from datasets import load_dataset

    folder = tmp_path_factory.mktemp("same")
    choice = local(
        folder, rows(count, turns=turns, text=text), row_group_size=group, percentage=percentage
    )

    def load() -> Any:
        return load_dataset(
            "parquet",
            data_files={"train": choice.files["train"]},
            split=f"train[0%:{percentage}%]",
            cache_dir=str(folder / "cache"),
        )

    if not rows_of_percentage(percentage, count):
        with pytest.raises(ValueError, match="corresponds to no data"):
            load()
        with pytest.raises(DataError, match=r"Raise run\.data\.percentage"):
            prepare(choice, folder / "out")
        return
    theirs = load()
    theirs.to_json(folder / "theirs.jsonl")

    ours = read(prepare(choice, folder / "out"), "train")

    text_lines = (folder / "theirs.jsonl").read_text("utf-8").splitlines()
    assert ours == [json.loads(line) for line in text_lines]


def test_the_tutorials_dataset_is_read_over_the_hub_split_by_split(
    hub: RunningHub, tmp_path: Path
) -> None:
    seen: list[tuple[int, int]] = []

    prepared = prepare(
        DataChoice(), tmp_path, progress=lambda done, all_: seen.append((done, all_))
    )

    assert prepared.rows == {"train_sft": 70, "test_sft": 30, "train_gen": 70, "test_gen": 30}
    commit = hub.hub.repositories[prepared.dataset].branches["main"]
    assert prepared.commit == commit == prepared.choice.revision
    folder = hub.hub.repositories[prepared.dataset].commits[commit].folder
    for split in prepared.splits:
        [file] = (folder / "data").glob(f"{split}-*")
        assert (
            read(prepared, split) == pq.read_table(file).slice(0, prepared.rows[split]).to_pylist()
        )
    assert seen[-1] == (200, 200)


def test_only_the_row_groups_that_are_needed_travel(hub: RunningHub, tmp_path: Path) -> None:
    big = rows(2000, text="".join(chr(33 + (7 * i * i) % 90) for i in range(3000)))
    hub.hub.add(
        "team/big",
        write_dataset(
            tmp_path / "big",
            {"train": big},
            files=2,
            row_group_size=50,
            use_dictionary=False,
            compression="none",
        ),
    )
    choice = DataChoice(dataset="team/big", splits=("train",), percentage=5)

    prepared = prepare(choice, tmp_path / "out")

    size = sum(path.stat().st_size for path in (tmp_path / "big" / "data").iterdir())
    assert read(prepared, "train") == big[:100]
    assert hub.link.sent < 0.12 * size  # 5 % of the rows, and the footers


def test_the_card_and_datasets_agree_on_the_files_of_each_split(hub: RunningHub) -> None:
    script = (
        "from finetuning.conversations.sources.hub import open_hub\n"
        "from finetuning.form.data import DataChoice\n"
        "found = open_hub(DataChoice())\n"
        "assert found._splits_of_card() == found._splits_by_datasets() != {}, found.splits"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, timeout=100
    )

    assert done.returncode == 0, done.stderr[-2000:]


def test_a_dataset_without_a_card_is_laid_out_by_datasets(hub: RunningHub, tmp_path: Path) -> None:
    folder = write_dataset(tmp_path / "plain", {"train": rows(8), "test": rows(4)})
    (folder / "README.md").unlink()
    hub.hub.add("team/plain", folder)
    script = (
        "import sys; from pathlib import Path; from finetuning.conversations.write import prepare\n"
        "from finetuning.form.data import DataChoice\n"
        "choice = DataChoice(dataset='team/plain', splits=('train', 'test'), percentage=100)\n"
        "print(prepare(choice, Path(sys.argv[1])).rows)"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, str(tmp_path / "out")],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=100,
        env={**os.environ, "HF_HOME": str(tmp_path / "home")},
    )

    assert done.stdout.strip() == "{'train': 8, 'test': 4}", done.stderr[-2000:]


def test_a_connection_that_drops_in_the_middle_is_taken_up_again(
    hub: RunningHub, tmp_path: Path
) -> None:
    whole = prepare(DataChoice(splits=("train_sft",)), tmp_path / "whole")
    hub.link.faults = [Fault("drop", path="train_sft", after_bytes=5000, times=2)]

    again = prepare(DataChoice(splits=("train_sft",)), tmp_path / "again")

    assert [fault.times for fault in hub.link.faults] == [0]
    assert again.version == whole.version


def test_a_server_without_ranges_gives_whole_files(
    hub: RunningHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import huggingface_hub.constants

    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    ranges = prepare(DataChoice(splits=("test_gen",)), tmp_path / "ranges")
    hub.link.faults = [Fault("no_ranges", path="_lfs", times=1000)]

    whole = prepare(DataChoice(splits=("test_gen",)), tmp_path / "whole")

    assert whole.version == ranges.version


@pytest.mark.parametrize("kept", [100, 60_000])
def test_a_truncated_file_is_an_error_and_leaves_nothing(
    hub: RunningHub, tmp_path: Path, kept: int
) -> None:
    hub.link.faults = [Fault("truncate", path="train_gen", after_bytes=kept, times=1000)]

    with pytest.raises(DataError, match=r"train_gen|shorter|truncated"):
        prepare(DataChoice(splits=("train_gen",), percentage=100), tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_changes_while_it_is_read_is_an_error(hub: RunningHub, tmp_path: Path) -> None:
    folder = write_dataset(tmp_path / "repo", {"train": rows(300)}, row_group_size=10)
    commit = hub.hub.add("team/changing", folder)
    choice = DataChoice(dataset="team/changing", splits=("train",), percentage=100)

    def change(done: int, total: int) -> None:
        for path, file in commit.files.items():
            commit.files[path] = replace(file, sha256="0" * 64)

    with pytest.raises(DataError, match="changed while it was read"):
        prepare(choice, tmp_path / "out", progress=change)
    assert list((tmp_path / "out").glob("*")) == []


def test_a_damaged_file_is_an_error(tmp_path: Path) -> None:
    choice = local(tmp_path, rows(300))
    file = Path(choice.files["train"])
    content = bytearray(file.read_bytes())
    content[100:4000] = bytes(3900)
    file.write_bytes(content)

    with pytest.raises(DataError, match=r"rows\.parquet is truncated or damaged"):
        prepare(choice, tmp_path / "out")


def test_a_private_dataset_is_read_with_the_token_from_its_usual_place(
    hub: RunningHub, tmp_path: Path
) -> None:
    hub.hub.add("team/private", write_dataset(tmp_path / "repo", {"train": rows(3)}), token="hf_x")
    choice = DataChoice(dataset="team/private", splits=("train",), percentage=100)

    with environment({"HF_TOKEN": "hf_x"}):
        assert prepare(choice, tmp_path / "out").rows == {"train": 3}
    with environment({"HF_TOKEN": "hf_wrong"}), pytest.raises(DataError, match="token") as error:
        prepare(choice, tmp_path / "out")
    assert "hf_wrong" not in str(error.value)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"dataset": "nobody/nothing"}, "'nobody/nothing' is not on the Hub"),
        ({"revision": "no-such"}, "no revision 'no-such'"),
        ({"splits": ("valid",)}, "'valid' is not in .* train_sft, test_sft, train_gen, test_gen"),
        ({"columns": {"messages": "talk"}}, "'talk' is not in .* prompt, prompt_id, messages"),
        ({"filters": {"language_column": "lang", "languages": ["en"]}}, "Column 'lang'"),
        ({"percentage": 0.01}, "is less than one row. Raise run.data.percentage"),
    ],
)
def test_what_is_not_there_is_named_with_what_is(
    hub: RunningHub, tmp_path: Path, changes: dict[str, Any], says: str
) -> None:
    with pytest.raises(DataError, match=says):
        prepare(DataChoice.model_validate(changes), tmp_path)
    assert not list(tmp_path.glob("*"))


def test_a_hub_that_is_away_is_worth_another_try(tmp_path: Path) -> None:
    with (
        environment({"HF_ENDPOINT": "http://127.0.0.1:9"}),
        pytest.raises(DataUnavailable, match="does not answer") as error,
    ):
        prepare(DataChoice(), tmp_path)

    assert error.value.transient


@pytest.mark.parametrize("percentage", [0, -1, 100.1, float("nan")])
def test_a_percentage_out_of_bounds_is_refused(percentage: float) -> None:
    with pytest.raises(ValueError, match="percentage"):
        DataChoice(percentage=percentage)


def broken(kind: str) -> Row:
    row = conversation(1)
    if kind == "null content":
        row["messages"][1]["content"] = None
    elif kind == "unknown role":
        row["messages"][0]["role"] = "robot"
    elif kind == "null messages":
        row["messages"] = None
    else:
        row["messages"] = []
    return row


@pytest.mark.parametrize(
    ("kind", "field"),
    [
        ("null content", r"messages\[1\].content"),
        ("unknown role", r"messages\[0\].role"),
        ("null messages", "messages"),
        ("empty messages", "messages"),
    ],
)
def test_broken_rows_are_counted_and_refused_above_the_stated_share(
    tmp_path: Path, kind: str, field: str
) -> None:
    content = rows(60)
    content[41] = broken(kind)
    choice = local(tmp_path, content, max_bad_share=0.05)

    kept = prepare(choice, tmp_path / "out")

    assert kept.files["train"].dropped == {"broken": 1}
    assert read(kept, "train") == content[:41] + content[42:]
    with pytest.raises(DataError, match=rf"1 of 60 rows .* row 42: field '{field}"):
        prepare(choice.model_copy(update={"max_bad_share": 0.01}), tmp_path / "out")


def test_a_broken_line_of_json_is_named_with_its_field(tmp_path: Path) -> None:
    file = tmp_path / "talk.jsonl"
    lines = [json.dumps(row) for row in rows(3)]
    file.write_text("\n".join([lines[0], '{"prompt": "x"', '{"prompt": "y"}', lines[2]]))
    choice = DataChoice(files={"train": str(file)}, splits=("train",), percentage=100)

    with pytest.raises(DataError) as error:
        prepare(choice, tmp_path / "out")

    assert "2 of 4 rows of split 'train'" in str(error.value)
    assert "row 2: not JSON" in str(error.value)
    assert "row 3: field 'messages' is missing; there are: prompt" in str(error.value)


def test_json_lines_give_the_same_as_parquet(tmp_path: Path) -> None:
    content = rows(2500)
    file = tmp_path / "talk.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in content), "utf-8")
    choice = DataChoice(files={"train": str(file)}, splits=("train",), percentage=50)

    lines = prepare(choice, tmp_path / "lines")

    parquet = prepare(local(tmp_path, content, percentage=50), tmp_path / "parquet")
    assert lines.files["train"].sha256 == parquet.files["train"].sha256
    assert lines.rows == {"train": 1250}


def test_a_sample_is_the_seeds_and_max_rows_bounds_it(tmp_path: Path) -> None:
    content = rows(200)
    choice = local(tmp_path, content, take="sample", percentage=50, max_rows=20, seed=3)

    one, two = prepare(choice, tmp_path / "a"), prepare(choice, tmp_path / "b")
    other = prepare(choice.model_copy(update={"seed": 4}), tmp_path / "c")

    assert one.version == two.version != other.version
    picked = [int(row["prompt_id"]) for row in read(one, "train")]
    assert picked == list(select(choice, 200))
    assert len(picked) == 20 and picked != list(range(20))


def test_filters_say_what_they_dropped(tmp_path: Path) -> None:
    content = [conversation(0), conversation(1, turns=6), conversation(2, text="long " * 100)]
    content = [{**row, "lang": code} for row, code in zip(content, ["en", "en", "en"], strict=True)]
    content.append({**conversation(3), "lang": "fr"})
    filters = Filters(language_column="lang", languages=("en",), max_turns=4, max_tokens=100)

    kept = prepare(local(tmp_path, content, filters=filters), tmp_path / "out")

    assert kept.files["train"].dropped == {"max_turns": 1, "max_tokens": 1, "language": 1}
    assert read(kept, "train") == [conversation(0)]


def test_another_datasets_columns_are_mapped(tmp_path: Path) -> None:
    talk = [{"from": "human", "value": "Hi"}, {"from": "gpt", "value": "Hello"}]
    columns = Columns(
        messages="talk", role="from", content="value", roles={"human": "user", "gpt": "assistant"}
    )
    plain = Columns(question="ask", answer="reply")

    mapped = prepare(local(tmp_path, [{"talk": talk}], columns=columns), tmp_path / "a")
    asked = prepare(
        local(tmp_path, [{"ask": "Hi", "reply": "Hello"}], columns=plain), tmp_path / "b"
    )

    assert read(mapped, "train") == read(asked, "train")
    [row] = read(mapped, "train")
    assert row["messages"] == [
        {"content": "Hi", "role": "user"},
        {"content": "Hello", "role": "assistant"},
    ]
    assert row["prompt"] == "Hi" and len(row["prompt_id"]) == 64


def test_the_manifest_names_the_folder_and_every_files_hash(tmp_path: Path) -> None:
    import hashlib

    prepared = prepare(local(tmp_path, rows(5)), tmp_path / "out")

    text = Path(prepared.manifest).read_text()
    manifest = json.loads(text)
    assert Path(prepared.manifest).parent.name == hashlib.sha256(text.encode()).hexdigest()
    content = prepared.file("train").read_bytes()
    assert manifest["splits"]["train"]["sha256"] == hashlib.sha256(content).hexdigest()
    assert manifest["commit"] == prepared.commit and manifest["inputs"]["percentage"] == 100


def test_preparing_twice_gives_the_same_folder_and_no_second(tmp_path: Path) -> None:
    choice = local(tmp_path, rows(5))

    first = prepare(choice, tmp_path / "out")
    first.file("train").write_text("damaged")
    second = prepare(choice, tmp_path / "out")

    assert first == second
    assert second.files["train"].here
    assert [path.name for path in (tmp_path / "out").iterdir()] == [
        Path(second.manifest).parent.name
    ]


SLOW = """
import sys, os, signal; from pathlib import Path
from finetuning.form.data import DataChoice
from finetuning.conversations.write import prepare
choice = DataChoice(files={"train": sys.argv[1]}, splits=("train",), percentage=100)
prepare(choice, Path(sys.argv[2]), progress=lambda done, _: os.kill(os.getpid(), signal.SIGKILL))
"""


def test_a_killed_write_never_looks_finished(tmp_path: Path) -> None:
    choice = local(tmp_path, rows(3000), row_group_size=100)
    arguments = [choice.files["train"], str(tmp_path / "out")]
    killed = subprocess.run([sys.executable, "-c", SLOW, *arguments], cwd=ROOT, timeout=60)
    left = list((tmp_path / "out").iterdir())

    prepared = prepare(choice, tmp_path / "out")

    assert killed.returncode == -signal.SIGKILL
    assert len(left) == 1 and left[0].name.startswith(".making-")
    assert read(prepared, "train") == rows(3000)


FULL = """
import sys, resource; from pathlib import Path
from finetuning.form.data import DataChoice
from finetuning.errors import DataError
from finetuning.conversations.write import prepare
resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, 200_000))
choice = DataChoice(files={"train": sys.argv[1]}, splits=("train",), percentage=100)
try:
    prepare(choice, Path(sys.argv[2]))
except DataError as error:
    print(error)
"""


def test_a_full_disk_says_so_and_leaves_nothing(tmp_path: Path) -> None:
    choice = local(tmp_path, rows(3000), row_group_size=100)
    arguments = [choice.files["train"], str(tmp_path / "out")]
    done = subprocess.run(
        [sys.executable, "-c", FULL, *arguments],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
    )

    assert "is full" in done.stdout and "Make room" in done.stdout, done.stderr
    assert list((tmp_path / "out").iterdir()) == []


MEMORY = """
import sys
from pathlib import Path
import finetuning.conversations.sources.split as split
from finetuning.form.data import DataChoice
from finetuning.conversations.write import prepare
split.BATCH_BYTES = 2**18  # small batches, so that few of them show whether any is kept
choice = DataChoice(files={"train": sys.argv[1]}, splits=("train",), percentage=100)
prepared = prepare(choice, Path(sys.argv[2]))
peak = Path("/proc/self/status").read_text().partition("VmHWM:")[2].split()[0]  # in KiB
print(int(peak) / 1024, prepared.files["train"].bytes)
"""


def test_memory_does_not_grow_with_the_dataset(tmp_path: Path) -> None:
    table = pa.Table.from_pylist(rows(1000, text="word " * 300))
    peaks, sizes = [], []
    for times in (4, 24):
        file = tmp_path / f"{times}.parquet"
        pq.write_table(pa.concat_tables([table] * times), file, row_group_size=50)
        done = subprocess.run(
            [sys.executable, "-c", MEMORY, str(file), str(tmp_path / "out")],
            cwd=ROOT,
            capture_output=True,
            text=True,
            timeout=100,
            check=True,
        )
        peak, size = done.stdout.split()
        peaks.append(float(peak))
        sizes.append(int(size) / 2**20)

    assert sizes[1] - sizes[0] > 50
    assert peaks[1] - peaks[0] < (sizes[1] - sizes[0]) / 2
