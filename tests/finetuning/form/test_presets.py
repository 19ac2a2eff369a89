"""Presets: what counts where a field is left open, and files of one's own."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from finetuning.form.command_line import explain
from finetuning.form.presets import shipped_presets
from finetuning.form.run import FineTune


def said(**run: Any) -> str:
    with pytest.raises(ValidationError) as error:
        FineTune.model_validate(run)
    return "\n".join(explain(error.value))


def test_the_default_comes_first_and_every_preset_makes_a_whole_run() -> None:
    assert shipped_presets() == ["phi-4", "gpt-oss-20b", "laptop", "phi-3-mini"]
    for name in shipped_presets():
        run = FineTune(preset=name)
        assert run.by_preset() and run.model.name and run.data.dataset


def test_the_tutorials_preset_is_the_tutorial_as_far_as_azure_still_has_it() -> None:
    run = FineTune(preset="phi-3-mini")

    assert (run.model.name, run.model.allow_retired) == ("Phi-3-mini-4k-instruct", False)
    assert (run.compute.name, run.compute.size) == ("gpu-cluster-big", "Standard_ND40rs_v2")
    assert (run.data.dataset, run.data.percentage) == ("HuggingFaceH4/ultrachat_200k", 5)
    assert run.endpoint.instance_type == ""  # Azure can no longer make the tutorial's


def test_the_user_counts_before_the_preset_and_an_empty_field_is_open() -> None:
    run = FineTune.model_validate(
        {
            "preset": "gpt-oss-20b",
            "compute": {"size": "Standard_ND96asr_v4", "name": ""},
            "data": {"percentage": 5, "dataset": ""},
        }
    )

    assert (run.compute.size, run.compute.name) == ("Standard_ND96asr_v4", "gpu-a100-nc-series")
    assert (run.data.percentage, run.data.cut.split) == (5, "train")
    assert "data.percentage" not in run.by_preset()


def test_what_a_preset_says_of_its_model_and_its_data_does_not_count_for_others() -> None:
    run = FineTune.model_validate(
        {
            "preset": "gpt-oss-20b",
            "model": {"name": "Phi-4"},
            "data": {"dataset": "team/rows"},
        }
    )

    assert (run.model.registry, run.model.version) == ("", None)
    assert not run.data.cut.on and run.data.columns.ultrachats


def test_a_run_that_went_to_a_server_and_back_is_the_same() -> None:
    for name in shipped_presets():
        run = FineTune(preset=name)
        assert FineTune.model_validate(run.model_dump(mode="json")) == run


def test_an_own_preset_is_a_file(tmp_path: Path) -> None:
    own = tmp_path / "ours.toml"
    own.write_text('[model]\nname = "Phi-4-mini-instruct"\n[test]\nrows = 3\n')

    run = FineTune(preset=str(own))

    assert (run.model.name, run.test.rows) == ("Phi-4-mini-instruct", 3)
    assert run.by_preset() == {"model.name": "Phi-4-mini-instruct", "test.rows": 3}
    assert FineTune.model_validate({"preset": str(own), "test": {"rows": 1}}).test.rows == 1


def test_an_unknown_preset_is_told_with_the_nearest_name() -> None:
    text = said(preset="phi4")

    assert "there is no preset 'phi4'; did you mean 'phi-4'?" in text
    assert "gpt-oss-20b" in text and "run.preset" not in said(model={"nmae": "x"})


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[model]\nnmae = 'x'\n", "wrong field 'model.nmae'"),
        ("[compute]\nmax_nodes = 0\n", "wrong field 'compute.max_nodes'"),
        ("[data.cut]\nsplit = 'a'\ntest = 0.5\n", "they must add up to 1"),
        ("key = 'mine'\n", "sets 'key', which is the run's own"),
        ("preset = 'phi-4'\n", "sets 'preset'"),
        ("model = [", "is not TOML"),
    ],
)
def test_a_wrong_preset_file_is_refused_with_its_field(
    tmp_path: Path, text: str, words: str
) -> None:
    own = tmp_path / "ours.toml"
    own.write_text(text)

    assert words in said(preset=str(own))
    assert "ours.toml" in said(preset=str(own))


def test_a_preset_file_that_is_not_there_is_named() -> None:
    assert "there is no preset file 'no/such.toml'" in said(preset="no/such.toml")


def test_the_form_shows_a_field_that_a_preset_fills_empty() -> None:
    schema = FineTune.model_json_schema()
    for part, field in (
        ("ModelChoice", "name"),
        ("ComputeChoice", "name"),
        ("DataChoice", "percentage"),
    ):
        assert "default" not in schema["$defs"][part]["properties"][field]
    assert next(iter(schema["properties"])) == "preset"
