"""What the component declares of its inputs, and values held against it.

A value becomes the declared type only where nothing is lost by it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from decimal import Decimal, InvalidOperation
from typing import Any

from pydantic import BaseModel, ConfigDict

from finetuning.form.run import Scalar


class NotCoercible(ValueError):
    """A value cannot become the declared type without loss; says why."""


class Declared(BaseModel):
    """One input as the component declares it."""

    model_config = ConfigDict(frozen=True)

    name: str
    type: str
    optional: bool = True
    default: Scalar | None = None
    min: float | None = None
    max: float | None = None
    enum: tuple[str, ...] | None = None


def read_declared(inputs: Mapping[str, Mapping[str, Any]]) -> dict[str, Declared]:
    """Return the component's inputs by name; the registry writes defaults and bounds as text."""
    return {name: _declared(name, facts) for name, facts in inputs.items()}


def _declared(name: str, facts: Mapping[str, Any]) -> Declared:
    kind = str(facts["type"]).lower()
    bare = Declared(name=name, type=kind)
    enum = facts.get("enum")
    return Declared(
        name=name,
        type=kind,
        optional=str(facts.get("optional", False)).lower() == "true",
        default=_default(facts.get("default"), bare),
        min=_number_or_none(facts.get("min")),
        max=_number_or_none(facts.get("max")),
        enum=tuple(str(one) for one in enum) if enum else None,
    )


def _default(value: Any, declared: Declared) -> Scalar | None:
    try:
        return None if value is None else coerce(value, declared)
    except NotCoercible:  # the component's own slip; it will be asked for like any other input
        return None


def _number_or_none(value: Any) -> float | None:
    return None if value is None else float(value)


def coerce(value: Any, declared: Declared) -> Scalar:
    """Return ``value`` as the declared type where nothing is lost by it.

    ``"5e-6"`` is the number 5e-06, ``"2"`` and ``2`` are the same integer, and ``True`` is the
    text ``"true"``; but 2.5 is no integer, and a truth value is no number.

    Raises:
        NotCoercible: it is not that type.
    """
    if declared.type == "string":
        return _as_text(value, declared.enum)
    if declared.type == "boolean":
        return _as_truth(value)
    if declared.type in ("integer", "number"):
        number = _as_decimal(value)
        return _as_integer(number) if declared.type == "integer" else _as_number(number)
    if not isinstance(value, str) or not value:
        raise NotCoercible(f"not the address of {with_article(declared.type)}")
    return value


def _as_text(value: Any, enum: tuple[str, ...] | None) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str):
        folded = {one.lower(): one for one in enum or ()}
        truth = set(folded) == {
            "true",
            "false",
        }  # Python writes "True" where the component wants "true"
        return folded.get(value.lower(), value) if truth else value
    if isinstance(value, float):
        if not math.isfinite(value):
            raise NotCoercible("not a finite number")
        return str(int(value)) if value.is_integer() and abs(value) < 1e15 else repr(value)
    if isinstance(value, int):
        return str(value)
    raise NotCoercible("not text")


def _as_truth(value: Any) -> bool:
    text = str(value).lower()
    if text not in ("true", "false"):
        raise NotCoercible("neither true nor false")
    return text == "true"


def _as_decimal(value: Any) -> Decimal:
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        raise NotCoercible("not a number")
    try:
        number = Decimal(repr(value)) if isinstance(value, float) else Decimal(value)
    except InvalidOperation:
        raise NotCoercible("not a number") from None
    if not number.is_finite() or abs(number.adjusted()) > 400:
        raise NotCoercible("not a finite number")
    return number


def _as_integer(number: Decimal) -> int:
    if number != number.to_integral_value():
        raise NotCoercible("not a whole number")
    return int(number)


def _as_number(number: Decimal) -> float:
    found = float(number)
    if not math.isfinite(found) or (found == 0) != (number == 0):
        raise NotCoercible("too large or too small for a floating-point number")
    return found


def within(value: Scalar, declared: Declared) -> Scalar:
    """Return a value of the declared type that keeps to enumeration and bounds.

    Raises:
        NotCoercible: it does not.
    """
    if declared.enum and str(value) not in declared.enum:
        raise NotCoercible("not a value that the component accepts")
    if not isinstance(value, str):
        if declared.min is not None and value < declared.min:
            raise NotCoercible(f"below the minimum of {declared.min:g}")
        if declared.max is not None and value > declared.max:
            raise NotCoercible(f"above the maximum of {declared.max:g}")
    return value


def with_article(kind: str) -> str:
    return f"an {kind}" if kind[0] in "aeiou" else f"a {kind}"
