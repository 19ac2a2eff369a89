"""The converter and the scorer: the registered weights answer, as the request asks them to."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from .bench import Bench, Ran, Scorer, talk
from .conftest import CONVERSATIONS, Train

USER = {"role": "user", "content": "what colour is the sky"}


@pytest.fixture(scope="module")
def model(train: Train, convert: Callable[[Ran], Path]) -> Path:
    """A model that has learned its few conversations by heart."""
    return convert(train(num_train_epochs=60, learning_rate=1e-2, evaluation_strategy="disable"))


@pytest.fixture(scope="module")
def scorer(bench: Bench, model: Path) -> Iterator[Scorer]:
    with bench.serving(model) as found:
        yield found


def test_the_answers_are_what_was_learned(scorer: Scorer) -> None:
    for question, answer in CONVERSATIONS:
        said = scorer.answer(question["content"], max_new_tokens=20)
        assert said == answer["content"]


def test_merged_and_unmerged_adapters_answer_alike(
    bench: Bench, train: Train, convert: Callable[[Ran], Path]
) -> None:
    question = "what colour is the snow"
    said = []
    for merge in ("true", "false"):
        ran = train(
            apply_lora="true", merge_lora_weights=merge, learning_rate=3e-2, num_train_epochs=20,
            evaluation_strategy="disable",
        )  # fmt: skip
        folder = convert(ran)
        assert (folder / "data" / "adapter").is_dir() is (merge == "false")
        with bench.serving(folder) as scorer:
            said.append(scorer.answer(question, max_new_tokens=12))

    assert said[0] == said[1]


def test_an_adapter_changes_the_answers_of_its_base(
    bench: Bench, base: Path, train: Train, convert: Callable[[Ran], Path]
) -> None:
    ran = train(
        apply_lora="true", merge_lora_weights="false", learning_rate=3e-2, num_train_epochs=20,
        evaluation_strategy="disable",
    )  # fmt: skip
    with bench.serving(base) as scorer:
        before = scorer.answer("what colour is the snow", max_new_tokens=12)
    with bench.serving(convert(ran)) as scorer:
        after = scorer.answer("what colour is the snow", max_new_tokens=12)

    assert before != after


def test_the_folder_says_what_its_weights_are(model: Path) -> None:
    text = (model / "MLmodel").read_text()

    assert "a stand-in, not Microsoft's Phi-3" in text
    assert "loader_module: chat_model" in text


def test_one_conversation_gets_an_answer_and_several_get_a_list(scorer: Scorer) -> None:
    alone = scorer.post([USER], max_new_tokens=20).json()
    in_a_list = scorer.post([[USER]], max_new_tokens=20).json()
    two = scorer.post([[USER], talk("what colour is the coal", "")[:1]], max_new_tokens=20).json()

    assert alone == in_a_list == {"output": "The sky is blue today."}
    assert two == [{"output": "The sky is blue today."}, {"output": "The coal is black today."}]


def test_a_long_conversation_is_answered_by_its_end(scorer: Scorer) -> None:
    long = [*talk("word " * 400, "word " * 400), USER]

    assert scorer.post([long], max_new_tokens=5).status_code == 200


def test_max_new_tokens_bounds_the_answer(scorer: Scorer) -> None:
    short, longer = (
        scorer.answer("tell me more", max_new_tokens=count, do_sample=False) for count in (1, 8)
    )

    assert len(short) < len(longer)
    assert longer.startswith(short)


def test_sampling_varies_and_its_absence_does_not(scorer: Scorer) -> None:
    hot = {"do_sample": True, "temperature": 50.0, "max_new_tokens": 8}
    sampled = {scorer.answer("hello", **hot) for _ in range(4)}
    greedy = {
        scorer.answer("hello", temperature=50.0, do_sample=False, max_new_tokens=8)
        for _ in range(3)
    }

    assert len(sampled) > 1
    assert len(greedy) == 1


@pytest.mark.parametrize(
    "narrow",
    [{"temperature": 0.0}, {"temperature": 1e-40}, {"top_p": 0.0, "temperature": 50.0}],
)
def test_sampling_from_almost_nothing_is_greedy(scorer: Scorer, narrow: dict[str, float]) -> None:
    greedy = scorer.answer("hello", do_sample=False, max_new_tokens=8)
    sampled = {scorer.answer("hello", do_sample=True, max_new_tokens=8, **narrow) for _ in range(3)}

    assert sampled == {greedy}


@pytest.mark.parametrize(
    ("body", "sentence"),
    [
        (b"", "The request is not JSON"),
        (b"\xff\xfe", "The request is not JSON"),
        (b"[" * 100_000, "The request is not JSON"),
        (b"[1]", "The request must be an object with input_data.input_string."),
        (b"{}", "The request must be an object with input_data.input_string."),
        (b'{"input_data": [1]}', "The request must be an object with input_data.input_string."),
    ],
)
def test_a_body_that_is_no_request_is_refused(scorer: Scorer, body: bytes, sentence: str) -> None:
    answer = scorer.http.post("/score", content=body)

    assert answer.status_code == 400
    assert answer.json()["error"]["message"].startswith(sentence)


@pytest.mark.parametrize(
    ("conversations", "sentence"),
    [
        ([], "input_data.input_string must be a list of conversations."),
        ("hello", "input_data.input_string must be a list of conversations."),
        ([[]], "Conversation 0 must be a list of messages, and not empty."),
        ([[USER], "hello"], "Conversation 1 must be a list of messages, and not empty."),
        (["hello"], "Message 0 of conversation 0 must have the texts 'role' and 'content'."),
        ([[{"role": "user"}]], "Message 0 of conversation 0 must have the texts"),
        ([[USER, {"role": "bot", "content": ""}]], "Message 1 of conversation 0 has the role"),
    ],
)
def test_conversations_that_are_none_are_refused(
    scorer: Scorer, conversations: Any, sentence: str
) -> None:
    answer = scorer.post(conversations)

    assert answer.status_code == 400
    assert answer.json()["error"]["message"].startswith(sentence)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("temperature", -1), ("temperature", "hot"), ("temperature", True), ("temperature", None),
        ("top_p", 1.5), ("do_sample", 1), ("max_new_tokens", 0), ("max_new_tokens", 1.5),
        ("max_new_tokens", 10**9), ("beams", 4),
    ],
)  # fmt: skip
def test_parameters_that_make_no_sense_are_refused(scorer: Scorer, name: str, value: Any) -> None:
    answer = scorer.post([[USER]], **{name: value})

    assert answer.status_code == 400
    assert f"arameter '{name}'" in answer.json()["error"]["message"]


def test_not_a_number_is_refused(scorer: Scorer) -> None:
    body = {"input_data": {"input_string": [[USER]], "parameters": {"top_p": float("nan")}}}
    answer = scorer.http.post("/score", content=json.dumps(body).encode())

    assert answer.status_code == 400


def test_liveness_and_unknown_paths(scorer: Scorer) -> None:
    assert scorer.http.get("/").json() == {"status": "Healthy"}
    assert scorer.http.get("/elsewhere").status_code == 404
    assert scorer.http.post("/elsewhere", json={}).status_code == 404


def test_a_body_of_unknown_or_absurd_length_is_not_read(scorer: Scorer) -> None:
    chunked = scorer.http.post("/score", content=iter([b"{}"]))
    large = scorer.http.post("/score", content=b" " * (5 * 1024 * 1024))

    assert chunked.status_code == 411
    assert large.status_code == 413


def test_requests_are_logged(scorer: Scorer) -> None:
    scorer.post([[USER]], max_new_tokens=1)

    assert '"POST /score HTTP/1.1" 200' in scorer.log.read_text()


def test_a_folder_that_is_no_model_is_not_served(bench: Bench, tmp_path: Path) -> None:
    ran = bench.run("score.py", "--model", tmp_path, "--port-file", tmp_path / "port")

    assert ran.code == 1
    assert ran.sentence == f"'{tmp_path}' is not an MLflow model folder: it has no MLmodel."
    assert not (tmp_path / "port").exists()


def test_the_converter_wants_a_model(bench: Bench, tmp_path: Path) -> None:
    ran = bench.step("model_converter.py", {}, {"pytorch_model_folder": tmp_path})

    assert ran.code == 1
    assert ran.sentence == f"The fine-tuned model's folder '{tmp_path}' has no config.json."
