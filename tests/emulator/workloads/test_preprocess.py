"""Steps two and three: the model's folder, and conversations as token ids and labels."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from tokenizers import Tokenizer

from .bench import Bench, Conversation, Ran, talk, write_rows

IGNORED = -100
MANY = [
    {"role": "system", "content": "Be brief."},
    *talk("first question", "first answer"),
    *talk("second question", "second answer"),
]


def preprocess(
    bench: Bench, model: Path, conversations: list[Conversation], **parameters: Any
) -> Ran:
    file = write_rows(bench.fresh() / "rows.jsonl", conversations)
    paths: dict[str, Path | str] = {"model_folder": model, "train_file_path": file}
    return bench.step("preprocess.py", parameters, paths)


def rows_of(ran: Ran, split: str = "train") -> list[dict[str, list[int]]]:
    assert ran.code == 0, ran.log
    lines = (ran.out / "dataset_folder" / f"{split}.jsonl").read_text().splitlines()
    return [json.loads(line) for line in lines]


def words(model: Path, ids: list[int]) -> str:
    tokenizer = Tokenizer.from_file(str(model / "tokenizer.json"))
    return str(tokenizer.decode(ids, skip_special_tokens=False))


def learned(model: Path, row: dict[str, list[int]]) -> str:
    return words(model, [label for label in row["labels"] if label != IGNORED])


def test_only_what_the_assistant_says_is_learned(bench: Bench, model_folder: Path) -> None:
    (row,) = rows_of(preprocess(bench, model_folder, [MANY]))

    assert learned(model_folder, row) == "first answer<|end|>\nsecond answer<|end|>\n"
    assert words(model_folder, row["input_ids"]) == (
        "<|system|>\nBe brief.<|end|>\n<|user|>\nfirst question<|end|>\n<|assistant|>\nfirst answer"
        "<|end|>\n<|user|>\nsecond question<|end|>\n<|assistant|>\nsecond answer<|end|>\n"
    )


def test_an_assistant_that_speaks_first_is_learned_too(bench: Bench, model_folder: Path) -> None:
    greeting = [{"role": "assistant", "content": "Welcome!"}, *talk("hello", "you")]
    (row,) = rows_of(preprocess(bench, model_folder, [greeting]))

    assert learned(model_folder, row) == "Welcome!<|end|>\nyou<|end|>\n"


def test_max_seq_length_cuts_rows(bench: Bench, model_folder: Path) -> None:
    (whole,) = rows_of(preprocess(bench, model_folder, [MANY]))
    ran = preprocess(bench, model_folder, [MANY, talk("a", "b")], max_seq_length=30)
    cut, short = rows_of(ran)

    assert cut["input_ids"] == whole["input_ids"][:30]
    assert cut["labels"] == whole["labels"][:30]
    assert len(short["input_ids"]) < 30
    assert "train: rows 2," in ran.log
    assert "cut 1" in ran.log


def test_no_row_is_longer_than_the_model_can_take(bench: Bench, model_folder: Path) -> None:
    ran = preprocess(bench, model_folder, [talk("a", "word " * 2000)], max_seq_length=100_000)

    assert len(rows_of(ran)[0]["input_ids"]) == 512


def test_padding_is_neither_learned_nor_looked_at(bench: Bench, model_folder: Path) -> None:
    conversations = [talk("a", "b"), MANY]
    plain = rows_of(preprocess(bench, model_folder, conversations, max_seq_length=80))
    ran = preprocess(
        bench, model_folder, conversations, max_seq_length=80, pad_to_max_length="true"
    )

    for row, whole in zip(rows_of(ran), plain, strict=True):
        fill = 80 - len(whole["input_ids"])
        assert {len(values) for values in row.values()} == {80}
        assert row["labels"] == whole["labels"] + [IGNORED] * fill
        assert row["attention_mask"] == whole["attention_mask"] + [0] * fill


def test_rows_without_an_answer_are_counted_and_left_out(bench: Bench, model_folder: Path) -> None:
    question = [{"role": "user", "content": "hello?"}]
    ran = preprocess(bench, model_folder, [question, talk("a", "b")])

    assert len(rows_of(ran)) == 1
    assert "nothing_to_learn 1" in ran.log


def test_nothing_to_learn_at_all_is_an_error(bench: Bench, model_folder: Path) -> None:
    ran = preprocess(bench, model_folder, [MANY], max_seq_length=3)

    assert ran.code == 1
    assert ran.sentence == (
        "No row of the training file has anything to learn: the assistant says nothing within the "
        "first 3 tokens."
    )


def test_the_test_file_is_evaluated_on_only_without_a_validation_file(
    bench: Bench, model_folder: Path, tmp_path: Path
) -> None:
    paths: dict[str, Path | str] = {"model_folder": model_folder}
    for name, count in (("train", 1), ("test", 2), ("validation", 3)):
        file = write_rows(tmp_path / f"{name}.jsonl", [talk("a", "b")] * count)
        paths[f"{name}_file_path"] = file
    both = bench.step("preprocess.py", {}, paths)
    del paths["validation_file_path"]
    one = bench.step("preprocess.py", {}, paths)

    assert len(rows_of(both, "validation")) == 3
    assert len(rows_of(one, "validation")) == 2


def with_template(model: Path, target: Path, template: str) -> Path:
    shutil.copytree(model, target)
    (target / "chat_template.jinja").write_text(template)
    return target


@pytest.mark.parametrize(
    ("template", "sentence"),
    [
        (
            "{{ raise_exception('roles must alternate') }}",
            "rows.jsonl, line 1: The model's chat template refuses it: roles must alternate",
        ),
        (
            "{{ messages[0].nothing.at_all }}",
            "rows.jsonl, line 1: The model's chat template fails: 'dict object' has no attribute",
        ),
        (
            "{{ messages | length }}{% for m in messages %}{{ m['content'] }}{% endfor %}",
            "rows.jsonl, line 1: The model's chat template changes what came before",
        ),
    ],
)
def test_a_template_that_takes_no_such_conversation_is_an_error(
    bench: Bench, model_folder: Path, tmp_path: Path, template: str, sentence: str
) -> None:
    model = with_template(model_folder, tmp_path / "model", template)

    ran = preprocess(bench, model, [MANY])

    assert ran.code == 1
    assert ran.sentence.startswith(sentence)


def test_a_model_s_folder_without_weights_is_not_imported(
    bench: Bench, model_folder: Path, tmp_path: Path
) -> None:
    lacking = tmp_path / "model"
    shutil.copytree(model_folder, lacking, ignore=shutil.ignore_patterns("*.safetensors"))

    ran = bench.step("model_import.py", {}, {"pytorch_model_path": lacking})

    assert ran.code == 1
    assert ran.sentence == f"The model's folder '{lacking}' lacks weights (*.safetensors)."


def test_a_hugging_face_id_alone_is_not_enough(bench: Bench) -> None:
    ran = bench.step("model_import.py", {"huggingface_id": "microsoft/Phi-4"}, {})

    assert ran.code == 1
    assert "give 'mlflow_model_path' or 'pytorch_model_path'" in ran.sentence


def test_a_plain_folder_is_imported_like_an_mlflow_model(bench: Bench, model_folder: Path) -> None:
    ran = bench.step("model_import.py", {}, {"pytorch_model_path": model_folder})

    assert ran.code == 0
    assert ran.sentence.startswith("imported Phi3ForCausalLM: ")
    assert ran.weights("model_folder") == Ran(0, "", model_folder.parent).weights("model_folder")
