"""What is wrong with a request or an answer: the field, what was given, what is allowed."""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from email.utils import parsedate_to_datetime
from typing import Any
from urllib.parse import urlsplit
from uuid import UUID

import jsonschema
from jsonschema import Draft202012Validator, FormatChecker, ValidationError
from jsonschema.protocols import Validator

SHOWN = 80
DURATION = re.compile(
    r"-?P(?!$)(\d+Y)?(\d+M)?(\d+W)?(\d+D)?(T(?=\d)(\d+H)?(\d+M)?(\d+(\.\d+)?S)?)?"
)
INVALID = "InvalidRequestContent"


@dataclass(frozen=True)
class Violation:
    """One thing that a description forbids. ``code`` is the error code that ARM answers with."""

    path: str
    given: str
    allowed: str
    code: str = INVALID

    def __str__(self) -> str:
        return f"'{self.path}' is {self.given}; {self.allowed}."


def _date_time(value: object) -> bool:
    datetime.fromisoformat(str(value))
    return True


def _rfc1123(value: object) -> bool:
    parsedate_to_datetime(str(value))
    return True


def _duration(value: object) -> bool:
    return DURATION.fullmatch(str(value)) is not None


def _uri(value: object) -> bool:
    return bool(urlsplit(str(value)).scheme)


def _uuid(value: object) -> bool:
    UUID(str(value))
    return True


FORMAT_CHECKER = FormatChecker(formats=())
FORMAT_CHECKER.checks("date-time", raises=ValueError)(_date_time)
FORMAT_CHECKER.checks("date-time-rfc1123", raises=(ValueError, TypeError))(_rfc1123)
FORMAT_CHECKER.checks("duration")(_duration)
FORMAT_CHECKER.checks("uri", raises=ValueError)(_uri)
FORMAT_CHECKER.checks("uuid", raises=ValueError)(_uuid)


def _any_case(
    _validator: Validator, values: list[str], instance: Any, _schema: dict[str, Any]
) -> Iterable[ValidationError]:
    """``enum`` as Azure reads requests: without case."""
    if str(instance).casefold() not in {value.casefold() for value in values}:
        yield ValidationError(f"{instance!r} is not one of {values}")


RequestValidator = jsonschema.validators.extend(Draft202012Validator, {"enum": _any_case})


def validator(schema: dict[str, Any], *, request: bool) -> Validator:
    """A validator of one schema document; requests' enumerations are read without case."""
    kind = RequestValidator if request else Draft202012Validator
    return kind(schema, format_checker=FORMAT_CHECKER)


def violations(checked: Validator, value: Any, place: str, code: str = INVALID) -> list[Violation]:
    """Everything that is wrong with a value; ``place`` begins the paths (``body``, ``query.x``)."""
    errors = list(checked.iter_errors(without_nulls(value)))
    mistyped = {_path(place, error.absolute_path) for error in errors if _is_type(error)}
    found: dict[tuple[str, str], Violation] = {}
    for error in errors:
        if _path(place, error.absolute_path) in mistyped and not _is_type(error):
            continue  # its type says enough
        for one in _told(error, place, code):
            found.setdefault((one.path, one.allowed), one)
    return list(found.values())


def _is_type(error: ValidationError) -> bool:
    return bool(error.validator == "type")


def without_nulls(value: Any) -> Any:
    """The value as Azure reads it: a field that is null is a field that is not there."""
    if isinstance(value, dict):
        return {key: without_nulls(inner) for key, inner in value.items() if inner is not None}
    if isinstance(value, list):
        return [without_nulls(inner) for inner in value]
    return value


def _told(error: ValidationError, place: str, code: str) -> Iterable[Violation]:
    path = _path(place, error.absolute_path)
    if error.validator == "required":
        given = error.instance
        for name in error.validator_value:
            if name not in given:
                yield Violation(f"{path}.{name}", "missing", "it is required", code)
        return
    yield Violation(path, _shown(error.instance), _allowed(error), code)


def _path(place: str, parts: Iterable[str | int]) -> str:
    text = place
    for part in parts:
        text += f"[{part}]" if isinstance(part, int) else f".{part}"
    return text


def _shown(value: Any) -> str:
    """A value in words: ``the integer 5``, ``the string 'x'``."""
    if isinstance(value, bool):
        return f"the boolean {str(value).lower()}"
    if isinstance(value, dict):
        return "an object"
    if isinstance(value, list):
        return f"a list of {len(value)}"
    kind = {str: "string", int: "integer", float: "number"}.get(type(value), type(value).__name__)
    text = repr(value)
    return f"the {kind} {text if len(text) <= SHOWN else text[:SHOWN] + '…'}"


def _allowed(error: ValidationError) -> str:
    rule: Any = error.validator_value
    told = {
        "type": lambda: f"it must be {_article(rule)}",
        "enum": lambda: f"it must be one of {', '.join(rule)}",
        "pattern": lambda: f"it must match {rule}",
        "format": lambda: f"it must be a {rule}",
        "minLength": lambda: f"it must have at least {rule} characters",
        "maxLength": lambda: f"it must have at most {rule} characters",
        "minimum": lambda: f"it must be at least {rule}",
        "maximum": lambda: f"it must be at most {rule}",
        "minItems": lambda: f"it must have at least {rule} items",
        "maxItems": lambda: f"it must have at most {rule} items",
    }
    tell = told.get(str(error.validator))
    return tell() if tell else error.message


def _article(kind: str | list[str]) -> str:
    if isinstance(kind, list):
        return " or ".join(_article(one) for one in kind)
    name = {"array": "list"}.get(kind, kind)
    return f"an {name}" if name[0] in "aeio" else f"a {name}"
