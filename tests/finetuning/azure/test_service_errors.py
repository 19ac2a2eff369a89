"""Azure's answers in our words: what is not there, what is refused, what may pass."""

from __future__ import annotations

from enum import Enum

import pytest
from azure.core.exceptions import ClientAuthenticationError, ServiceRequestError
from hypothesis import given
from hypothesis import strategies as st

from finetuning.azure.service_errors import first_lines, look_up, service_errors, state_text
from finetuning.errors import EXPIRED_TOKEN, CredentialError, DataError, ServiceError
from tests.support.azure_answers import answered


def asking(error: Exception) -> object:
    def ask(*names: str, **more: str) -> object:
        raise error

    return ask


def test_what_azure_has_is_returned_by_its_names() -> None:
    assert look_up(lambda *names, **more: (names, more), "a", "b", version="1") == (
        ("a", "b"), {"version": "1"}
    )  # fmt: skip


def test_what_azure_does_not_have_is_none() -> None:
    assert look_up(asking(answered(404)), "a") is None


@pytest.mark.parametrize("status", [400, 401, 403, 409, 500, 503])
def test_nothing_else_is_taken_for_missing(status: int) -> None:
    error = answered(status)

    with pytest.raises(type(error)):
        look_up(asking(error), "a")


@pytest.mark.parametrize("status", [401, 403])
def test_a_refusal_names_the_role(status: int) -> None:
    with (
        pytest.raises(CredentialError, match=rf"Do it: .* {status} \(Denied\): not you.*role"),
        service_errors("Do it"),
    ):
        raise answered(status, "Denied", "not you")


def test_a_token_that_expired_on_its_way_is_worth_another_try() -> None:
    with pytest.raises(ServiceError) as told, service_errors("Do it"):
        raise answered(401, EXPIRED_TOKEN, "too late")

    assert told.value.transient


def test_no_token_at_all_is_the_credentials() -> None:
    with (
        pytest.raises(CredentialError, match="Do it: no token was given: nobody answers"),
        service_errors("Do it"),
    ):
        raise ClientAuthenticationError("nobody answers")


@pytest.mark.parametrize(("status", "again"), [(400, False), (409, True), (429, True), (503, True)])
def test_an_answer_keeps_its_status_and_words(status: int, again: bool) -> None:
    with pytest.raises(ServiceError) as told, service_errors("Do it"):
        raise answered(status, "Because", "of this")

    assert (told.value.status, told.value.code, told.value.message) == (
        status,
        "Because",
        "of this",
    )
    assert told.value.transient is again


def test_a_way_that_is_cut_is_worth_another_try() -> None:
    with pytest.raises(ServiceError, match="no answer") as told, service_errors("Do it"):
        raise ServiceRequestError("no route")

    assert told.value.transient


def test_our_own_errors_and_defects_pass_as_they_are() -> None:
    for error in (DataError("ours"), KeyError("a defect")):
        with pytest.raises(type(error)) as told, service_errors("Do it"):
            raise error
        assert told.value is error


@given(st.text(), st.integers(1, 50))
def test_a_text_is_cut_to_one_line(text: str, most: int) -> None:
    line = first_lines(ValueError(text), most)

    assert len(line) <= most and "\n" not in line


def test_a_state_is_its_text_whether_text_or_enumeration() -> None:
    state = Enum("state", {"READY": "Succeeded"})

    assert state_text("Succeeded") == state_text(state.READY) == "Succeeded"
