"""Every error survives a pickle between processes and says what, which and what now."""

from __future__ import annotations

import inspect
import pickle

import pytest

from finetuning import errors
from finetuning.errors import FineTuneError, ServiceError


def classes() -> list[type[FineTuneError]]:
    found = vars(errors).values()
    return [one for one in found if inspect.isclass(one) and issubclass(one, FineTuneError)]


def made(kind: type[FineTuneError]) -> FineTuneError:
    parameters = list(inspect.signature(kind.__init__).parameters.values())[1:]
    values: dict[str, object] = {
        "float": 2.5,
        "int": 429,
        "int | None": 429,
        "list[str]": ["a reason"],
        "dict[str, str]": {"a name": "a reason"},
    }
    named = [one for one in parameters if one.kind is not inspect.Parameter.VAR_POSITIONAL]
    optional = (inspect.Parameter.VAR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
    named = [one for one in named if one.kind not in optional]
    if not named:
        return kind("a text")
    return kind(*(values.get(str(one.annotation), f"a-{one.name}") for one in named))


@pytest.mark.parametrize("kind", classes())
def test_an_error_survives_a_pickle_with_its_text(kind: type[FineTuneError]) -> None:
    error = made(kind)

    again = pickle.loads(pickle.dumps(error))

    assert type(again) is kind
    assert str(again) == str(error)
    assert len(str(error)) > 5


@pytest.mark.parametrize(
    "status, transient",
    [(None, True), (408, True), (429, True), (500, True), (503, True), (501, False),
     (400, False), (404, False), (409, True)],
)  # fmt: skip
def test_only_what_may_be_otherwise_in_a_while_is_transient(
    status: int | None, transient: bool
) -> None:
    assert ServiceError("Ask", status, "code", "text").transient is transient
