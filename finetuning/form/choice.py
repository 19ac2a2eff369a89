"""What every part of the form has in common: how Prefect shows it, and what an empty field means.

Prefect's form has a picker of types for each optional value, and shows every field of every group.
So the schema that it is made from differs from pydantic's in two ways, and in nothing else:

- An optional value is a plain one without a default. Left empty it is not sent, or sent as ``""``
  or null: all three mean that it is not chosen, and the code sees ``None``.
- A part shows the fields in ``first``; the others are folded away under ``more``. A value under
  ``more`` is read as if it stood beside ``more``, where the API and the command line put it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from copy import deepcopy
from typing import Any, ClassVar, get_args

from pydantic import BaseModel, ConfigDict, model_validator
from pydantic.fields import ComputedFieldInfo, FieldInfo
from pydantic_core import to_jsonable_python

#: Where the form has the fields of a part that are seldom changed.
MORE = "more"
_UNITS = {"ms": "(ms)", "s": "(s)"}


def _title(name: str, _: FieldInfo | ComputedFieldInfo) -> str:
    """Return a field's name in words, its unit in brackets."""
    words = name.split("_")
    return " ".join([*words[:-1], _UNITS.get(words[-1], words[-1])]).capitalize()


def _part_title(part: type[Any]) -> str:
    """Return the name of a part of the form in words."""
    words = re.findall(r"[A-Z][a-z]+", part.__name__.removesuffix("Choice"))
    return " ".join(words).capitalize()


def _show(schema: dict[str, Any], part: type[Choice]) -> None:
    """Make of a part's schema the one that the form is made from."""
    fields: dict[str, dict[str, Any]] = schema.get("properties", {})
    if not part.first:
        schema["properties"] = {name: _plain(field) for name, field in fields.items()}
        return
    rest = [name for name in fields if name not in part.first]
    schema["properties"] = {name: _plain(fields[name]) for name in part.first}
    schema["properties"][MORE] = _more({name: _folded(fields[name]) for name in rest})
    # Beside ``more`` they are not shown, and accepted as ever.
    schema["patternProperties"] = {f"^{name}$": deepcopy(fields[name]) for name in rest}


def _more(fields: dict[str, dict[str, Any]]) -> dict[str, Any]:
    named = ", ".join(field.get("title") or name.capitalize() for name, field in fields.items())
    inside = {"type": "object", "properties": fields, "additionalProperties": False}
    return {
        "title": "More",
        "description": f"{named}.",
        "anyOf": [_DEFAULTS, {"title": "Change", **inside}],
        "default": None,
    }


#: What a folded group is until somebody opens it.
_DEFAULTS = {"title": "Defaults", "type": "null"}


def _folded(field: dict[str, Any]) -> dict[str, Any]:
    """Return a field as it is shown under ``more``: a group can be opened."""
    if "$ref" not in field:
        return _plain(field)
    about = {name: value for name, value in field.items() if name not in ("$ref", "default")}
    return {**about, "anyOf": [_DEFAULTS, {"$ref": field["$ref"]}], "default": None}


def _plain(field: dict[str, Any]) -> dict[str, Any]:
    """Return an optional value as a plain one, and anything else as it is."""
    values = [one for one in field.get("anyOf", []) if one.get("type") != "null"]
    if field.get("default", ...) is not None or len(values) != 1 or "$ref" in values[0]:
        return deepcopy(field)
    about = {name: value for name, value in field.items() if name not in ("anyOf", "default")}
    value = deepcopy(values[0])
    choices = [True, False] if value.get("type") == "boolean" else value.get("enum")
    if choices:  # without a type, or Prefect would not offer the null
        return {**about, "enum": [None, *choices], "default": None}
    value.pop("minLength", None)
    if "pattern" in value:
        value["pattern"] = _or_empty(value["pattern"])
    return {**value, **about}


def left_open(schema: dict[str, Any]) -> None:
    """Show a field empty in the form: what counts then is the preset's value.

    For ``json_schema_extra``. A form's default could not be told from what a user wants.
    """
    for rule in ("default", "minLength"):
        schema.pop(rule, None)
    if "pattern" in schema:
        schema["pattern"] = _or_empty(schema["pattern"])


def _or_empty(pattern: str) -> str:
    return f"^$|{pattern}"


class Choice(BaseModel):
    """A part of the form: frozen, and a misspelt field is an error."""

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        json_schema_extra=_show,
        field_title_generator=_title,
        model_title_generator=_part_title,
    )

    #: The fields that the form shows at once, in this order. None: it shows all.
    first: ClassVar[tuple[str, ...]] = ()

    @model_validator(mode="before")
    @classmethod
    def _as_the_form_sends_it(cls, given: Any) -> Any:
        return cls.unfolded(given) if isinstance(given, Mapping) else given

    @classmethod
    def unfolded(cls, given: Mapping[str, Any]) -> dict[str, Any]:
        """Return what was given, here and in the groups below, without ``more`` and empty texts.

        Raises:
            ValueError: a field has one value under ``more`` and another one beside it.
        """
        values = cls._beside_more(given)
        for name, field in cls.model_fields.items():
            group, value = field.default_factory, values.get(name)
            if isinstance(group, type) and issubclass(group, Choice):
                if isinstance(value, Mapping):
                    values[name] = group.unfolded(value)
                elif value is None:  # folded
                    values.pop(name, None)
            elif value == "" and type(None) in get_args(field.annotation):
                values[name] = None
            elif value in ("", None) and field.json_schema_extra is left_open:
                values.pop(name, None)
        return values

    @classmethod
    def _beside_more(cls, given: Mapping[str, Any]) -> dict[str, Any]:
        values = {name: value for name, value in given.items() if name != MORE or not cls.first}
        more = given.get(MORE) if cls.first else None
        if more is not None and not isinstance(more, Mapping):
            raise ValueError("'more' holds fields by their names")
        for name, value in (more or {}).items():
            if name in values and values[name] != value and not cls._is_default(name, values[name]):
                raise ValueError(
                    f"'{name}' is {values[name]!r}, and {value!r} under 'more': leave one out"
                )
            values[name] = value
        return values

    @classmethod
    def _is_default(cls, name: str, value: Any) -> bool:
        """Whether a value need not have been chosen: it is empty, or what the field has anyway."""
        if value in (None, "", {}, []) or name not in cls.model_fields:
            return True
        default = cls.model_fields[name].get_default(call_default_factory=True)
        return bool(to_jsonable_python(default) == to_jsonable_python(value))
