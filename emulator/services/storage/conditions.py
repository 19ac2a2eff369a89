"""Conditional headers as the blob service reads them; reads and writes have rules of their own.

Source: Storage's REST reference, "Specifying conditional headers for Blob service operations".
"""

from collections.abc import Mapping
from dataclasses import dataclass
from email.utils import parsedate_to_datetime

from emulator.protocol.errors import ArmError


@dataclass(frozen=True)
class Conditions:
    """ETags without quotes, times in unix seconds; None or empty where a header is not sent."""

    match: tuple[str, ...]
    none_match: tuple[str, ...]
    modified_since: int | None
    unmodified_since: int | None


@dataclass(frozen=True)
class State:
    """What the conditions are about: the ETag without quotes and the last change, unix seconds."""

    etag: str
    modified: int


def conditions_of(headers: Mapping[str, str]) -> Conditions:
    """Read the four headers. Raises ArmError 400: a time that is none."""
    return Conditions(
        _etags(headers.get("if-match", "")),
        _etags(headers.get("if-none-match", "")),
        _time(headers, "if-modified-since"),
        _time(headers, "if-unmodified-since"),
    )


def check_read(given: Conditions, state: State | None) -> None:
    """Raises ArmError 304, 400 or 412. The state is None where there is no blob."""
    if given.none_match[:1] == ("*",):
        text = "The request includes an unsatisfiable condition for this operation."
        raise ArmError(400, "UnsatisfiableCondition", text)
    if state is None:
        if given.match:
            raise _not_met()
        return
    if given.match and given.match[0] != "*" and state.etag not in given.match:
        raise _not_met()
    if given.unmodified_since is not None and state.modified > given.unmodified_since:
        raise _not_met()
    if _unchanged(given, state):
        raise ArmError(304, "ConditionNotMet", _NOT_MET)


def _unchanged(given: Conditions, state: State) -> bool:
    """Whether the reader has it already; either header that says otherwise is enough."""
    told = []
    if given.none_match:
        told.append(state.etag in given.none_match)
    if given.modified_since is not None:
        told.append(state.modified <= given.modified_since)
    return bool(told) and all(told)


def check_write(given: Conditions, state: State | None) -> None:
    """Raises ArmError 400 or 412; ``If-None-Match: *`` is the caller's, whose code differs."""
    _check_combination(given)
    if given.none_match:
        if state is not None and state.etag == given.none_match[0]:
            raise _not_met()
    elif given.match:
        wanted = given.match[0]
        if wanted != "*" and (state is None or state.etag != wanted):
            raise _not_met()
    elif state is not None:
        _check_times(given, state)


def _check_times(given: Conditions, state: State) -> None:
    if given.modified_since is not None and state.modified <= given.modified_since:
        raise _not_met()
    if given.unmodified_since is not None and state.modified > given.unmodified_since:
        raise _not_met()


def _check_combination(given: Conditions) -> None:
    """A write takes one ETag in a header, and two headers only of the same direction."""
    for_changed = bool(given.none_match) + (given.modified_since is not None)
    for_same = bool(given.match) + (given.unmodified_since is not None)
    several = len(given.match) > 1 or len(given.none_match) > 1
    if several or (for_changed and for_same):
        text = "Multiple condition headers are not supported."
        raise ArmError(400, "MultipleConditionHeadersNotSupported", text)


_NOT_MET = "The condition specified using HTTP conditional header(s) is not met."


def _not_met() -> ArmError:
    return ArmError(412, "ConditionNotMet", _NOT_MET)


def _etags(text: str) -> tuple[str, ...]:
    return tuple(one.strip().strip('"') for one in text.split(",") if one.strip())


def _time(headers: Mapping[str, str], name: str) -> int | None:
    text = headers.get(name)
    if not text:
        return None
    try:
        return int(parsedate_to_datetime(text).timestamp())
    except ValueError:
        text = f"The value for one of the HTTP headers is not in the correct format: '{name}'."
        raise ArmError(400, "InvalidHeaderValue", text) from None
