"""The test: questions of the dataset, asked of the endpoint."""

from __future__ import annotations

import json
import random
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from prefect import get_run_logger
from prefect.artifacts import create_table_artifact

from finetuning.azure.client import open_client
from finetuning.azure.settings import Settings
from finetuning.errors import (
    AnswerError,
    DataError,
)
from finetuning.form.results import Answer
from finetuning.form.run import TestChoice
from tasks.step import azure_step

if TYPE_CHECKING:
    from azure.ai.ml import MLClient


@azure_step("Test the endpoint")
def test_endpoint(
    settings: Settings,
    endpoint: str,
    deployment: str,
    test_file: str,
    rows: int,
    choice: TestChoice,
) -> list[Answer]:
    """Ask the endpoint about rows of test_gen and show each answer beside its reference.

    ``test_file`` is a JSON Lines file in the tutorial's schema with ``rows`` rows.

    Raises:
        AnswerError: a request failed, or its answer is empty.
    """
    client = open_client(settings)
    picked = pick_rows(Path(test_file), rows, choice.rows, choice.seed)
    answers = [_ask(client, endpoint, deployment, messages, choice) for messages in picked]
    create_table_artifact(
        [answer.model_dump() for answer in answers],
        key="test-answers",
        description=f"What {endpoint} answered, beside the dataset's reference",
    )
    return answers


test_endpoint.__test__ = False  # type: ignore[attr-defined]  # a task, not a test


def pick_rows(file: Path, rows: int, wanted: int, seed: int) -> list[list[dict[str, str]]]:
    """Return the messages of ``wanted`` rows, chosen by ``seed``; the file is read line by line.

    Raises:
        DataError: the file has no rows, or a chosen row is broken (says which line).
    """
    if rows < 1:
        raise DataError(f"{file.name} has no rows to test with. Raise run.data.percentage.")
    chosen = set(random.Random(seed).sample(range(rows), min(wanted, rows)))
    picked = []
    with file.open(encoding="utf-8") as lines:
        for number, line in enumerate(lines):
            if number in chosen:
                picked.append(_messages(file, number + 1, line))
    return picked


def _messages(file: Path, number: int, line: str) -> list[dict[str, str]]:
    try:
        messages = json.loads(line)["messages"]
        return [{"role": one["role"], "content": one["content"]} for one in messages]
    except (ValueError, KeyError, TypeError) as error:
        raise DataError(
            f"{file.name}, line {number}: {type(error).__name__} {error} in 'messages'. "
            "Prepare the data again with run.data.refresh."
        ) from error


def split_turns(messages: list[dict[str, str]]) -> tuple[list[dict[str, str]], str]:
    """Return what is sent, and the reference: the last assistant's turn and all before it."""
    last = max((i for i, one in enumerate(messages) if one["role"] == "assistant"), default=None)
    if last is None or last == 0:
        return messages, ""
    return messages[:last], messages[last]["content"]


def _ask(
    client: MLClient,
    endpoint: str,
    deployment: str,
    messages: list[dict[str, str]],
    choice: TestChoice,
) -> Answer:
    asked, reference = split_turns(messages)
    question = asked[-1]["content"]
    body = {
        "input_data": {
            "input_string": [asked],
            "parameters": choice.model_dump(exclude={"rows", "seed"}),
        },
        "params": {},
    }
    said = answer_text(_invoke(client, endpoint, deployment, body, question))
    if not said.strip():
        raise AnswerError(endpoint, question, "its answer is empty.")
    get_run_logger().info("asked %r, got %r", question[:80], said[:80])
    return Answer(question=question, reference=reference, answer=said)


def _invoke(
    client: MLClient, endpoint: str, deployment: str, body: dict[str, Any], question: str
) -> str:
    from azure.core.exceptions import HttpResponseError

    with tempfile.TemporaryDirectory() as folder:
        request = Path(folder) / "sample_score.json"
        request.write_text(json.dumps(body), encoding="utf-8")
        try:
            return str(
                client.online_endpoints.invoke(
                    endpoint_name=endpoint, deployment_name=deployment, request_file=str(request)
                )
            )
        except HttpResponseError as error:
            if error.status_code in (408, 429, 502, 503, 504):
                raise  # repeated by the task: the scorer may be back in a while
            raise AnswerError(
                endpoint, question, f"HTTP {error.status_code}: {error.message}"
            ) from error


def answer_text(response: str) -> str:
    """Return the answer in a scoring response: a text, ``{"output": text}``, or a list of these."""
    try:
        found: Any = json.loads(response)
    except ValueError:
        return response
    if isinstance(found, list):
        found = found[0] if found else ""
    if isinstance(found, dict):
        found = found.get("output", "")
        found = found[0] if isinstance(found, list) and found else found
    return str(found or "")
