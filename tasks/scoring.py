"""The test: questions of the dataset, asked of the endpoint."""

from __future__ import annotations

import json
import random
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from prefect import get_run_logger
from prefect.artifacts import create_table_artifact

from finetuning.azure.client import open_client
from finetuning.conversations.turns import split_turns
from finetuning.errors import AnswerError, DataError, NotAnsweringYet
from finetuning.form.context import RunContext
from finetuning.form.data import PreparedFile
from finetuning.form.results import Answer
from finetuning.planning.plan import Plan
from finetuning.recipes import Recipe, find_recipe
from tasks.step import azure_step

if TYPE_CHECKING:
    from azure.ai.ml import MLClient


@azure_step("Test the endpoint")
def test_endpoint(
    context: RunContext,
    plan: Plan,
    deployment: str,
    asked: PreparedFile,
    spending: Callable[[], None] | None = None,  # noqa: PT028  # a task, not a test
) -> list[Answer]:
    """Ask the endpoint about some of the ``asked`` rows; show each answer beside its reference.

    ``spending`` is called before every question and may raise to end the test.
    The deployment is young: what its container does not take yet (424) is asked again for the five
    minutes for which every step is repeated.

    Raises:
        AnswerError: a request failed, or its answer is empty.
    """
    endpoint = _Endpoint(
        open_client(context.settings), find_recipe(plan.recipe), plan.serving.endpoint, deployment
    )
    choice = plan.test
    sampling = choice.model_dump(exclude={"rows", "seed"})
    picked = pick_rows(Path(asked.path), asked.rows, choice.rows, choice.seed)
    answers = []
    for messages in picked:
        if spending is not None:
            spending()
        answers.append(endpoint.ask(messages, sampling))
    create_table_artifact(
        [answer.model_dump() for answer in answers],
        key="test-answers",
        description=f"What {plan.serving.endpoint} answered, beside the dataset's reference",
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


@dataclass(frozen=True)
class _Endpoint:
    """A deployment that can be asked, and the recipe that says how."""

    client: MLClient
    recipe: Recipe
    name: str
    deployment: str

    def ask(self, messages: list[dict[str, str]], sampling: dict[str, Any]) -> Answer:
        asked, reference = split_turns(messages)
        question = asked[-1]["content"]
        said = self.recipe.answer(self._invoke(self.recipe.request(asked, sampling), question))
        if not said.strip():
            raise AnswerError(self.name, question, "its answer is empty.")
        get_run_logger().info("asked %r, got %r", question[:80], said[:80])
        return Answer(question=question, reference=reference, answer=said)

    def _invoke(self, body: dict[str, Any], question: str) -> str:
        from azure.core.exceptions import HttpResponseError

        with tempfile.TemporaryDirectory() as folder:
            request = Path(folder) / "sample_score.json"
            request.write_text(json.dumps(body), encoding="utf-8")
            try:
                return str(
                    self.client.online_endpoints.invoke(
                        endpoint_name=self.name,
                        deployment_name=self.deployment,
                        request_file=str(request),
                    )
                )
            except HttpResponseError as error:
                if error.status_code in (408, 429, 502, 503, 504):
                    raise  # repeated by the task: the scorer may be back in a while
                reason = f"HTTP {error.status_code}: {error.message}"
                if error.status_code == 424:  # the container, which may not be up on every node yet
                    raise NotAnsweringYet(self.name, question, reason) from error
                raise AnswerError(self.name, question, reason) from error
