"""The table of ends: what is past is refused, what is near is warned of, with its successor."""

from __future__ import annotations

from datetime import date, timedelta
from pathlib import Path

import pytest

from finetuning.errors import SettingsError
from finetuning.planning.facts import ComputeFacts, NodeSize
from finetuning.planning.findings import Report
from finetuning.planning.lifecycle import LIFECYCLE, Calendar, Ending, todays_calendar
from finetuning.planning.rules.lifecycle import check_named, check_sizes, check_table

TABLE = LIFECYCLE.load()
V100 = NodeSize(
    name="Standard_NC6s_v3", family="standardNCSv3Family",
    vcpus=6, gpus=1, memory_gb=112, disk_gb=736,
)  # fmt: skip
FACTS = ComputeFacts(sizes={"standard_nc6s_v3": V100})
NCV3_ENDS = date(2025, 9, 30)


def on_sizes(today: date) -> list[tuple[str, str]]:
    report = Report("lifecycle")
    check_sizes({"run.compute.size": "Standard_NC6s_v3"}, FACTS, Calendar(today, TABLE), report)
    return [(one.level, str(one)) for one in report.findings]


def test_a_size_is_fine_91_days_before_its_end_warned_of_90_before_and_refused_on_the_day() -> None:
    assert on_sizes(NCV3_ENDS - timedelta(days=91)) == []
    ((level, text),) = on_sizes(NCV3_ENDS - timedelta(days=90))
    assert level == "warning" and "in 90 days" in text and "Standard_NC24ads_A100_v4" in text
    ((level, text),) = on_sizes(NCV3_ENDS)
    assert level == "error" and "was retired on 2025-09-30" in text


def test_every_entry_names_its_source_and_successor() -> None:
    endings = [TABLE.low_priority, *TABLE.vm_families.values(), *TABLE.models.values()]

    assert all(one.source and one.successor for one in endings)
    assert TABLE.low_priority.retires == date(2026, 3, 31)
    assert TABLE.family("STANDARDDV2FAMILY") is not None


def test_the_longest_beginning_of_a_models_name_counts() -> None:
    late = Ending(retires=date(2030, 1, 1), successor="x", source="y")
    table = TABLE.model_copy(update={"models": {**TABLE.models, "Phi-3-mini": late}})

    assert table.model("phi-3-mini-4k-instruct") == late
    assert table.model("Phi-3-medium") == TABLE.models["Phi-3-"]
    assert table.model("Phi-4") is None


def test_components_and_api_versions_are_held_against_it_too() -> None:
    gone = Ending(retires=date(2026, 1, 1), successor="0.0.90", source="the registry")
    table = TABLE.model_copy(update={"components": {"chat_completion_pipeline:0.0.82": gone}})
    report, calendar = Report("lifecycle"), Calendar(date(2026, 8, 1), table)

    ending = table.component("chat_completion_pipeline", "0.0.82")
    check_named([("Component of a test", ending), ("Another", None)], calendar, report)
    assert [one.level for one in report.findings] == ["error"]
    assert "0.0.90" in report.findings[0].change


@pytest.mark.parametrize(("days", "said"), [(90, 0), (91, 1)])
def test_a_table_older_than_90_days_says_so(days: int, said: int) -> None:
    report = Report("lifecycle")
    check_table(Calendar(TABLE.read + timedelta(days=days), TABLE), report)

    assert len(report.findings) == said
    assert all("91 days ago" in one.what for one in report.findings)


def test_a_users_file_overrides_single_entries(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = tmp_path / "lifecycle.toml"
    own.write_text("read = 2027-01-01\n[low_priority]\nretires = 2030-01-01\n")
    monkeypatch.chdir(tmp_path)

    table = todays_calendar().table
    assert table.read == date(2027, 1, 1)
    assert table.low_priority.retires == date(2030, 1, 1)
    assert table.low_priority.source == TABLE.low_priority.source
    assert table.vm_families == TABLE.vm_families


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("read = ", "not TOML"),
        ("[low_priority]\nretires = 'soon'\n", "low_priority.retires"),
        ("[models.X]\nretires = 2027-01-01\n", "models.X.successor"),
        ("colour = 1\n", "colour"),
    ],
)
def test_a_table_that_cannot_be_read_is_a_clear_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str, said: str
) -> None:
    own = tmp_path / "own.toml"
    own.write_text(text)
    monkeypatch.setenv("FINETUNE_LIFECYCLE", str(own))

    with pytest.raises(SettingsError, match=said) as error:
        todays_calendar()
    assert "The lifecycle table" in str(error.value) and "own.toml" in str(error.value)
