"""The notation of the description files, and its translation to JSON Schema (2020-12).

A type is one of three things:

- a list of strings: an enumeration. ``{Value: since 2024-01-01-preview}`` is a value that only
  some api-versions have;
- a mapping of field names to field texts: an object. ``$by`` names the field that tells its kinds
  apart, ``$of`` and ``$when`` make a type the kind of another, ``$undescribed`` lists the kinds of
  which only the common fields are described;
- a field text: an alias.

A field text is ``kind, flag, flag``. The kind is ``string``, ``integer``, ``number``, ``boolean``,
``object``, ``any``, ``double`` (protobuf's: a number, or its name where it is not finite), a format
(``date-time``, ``date-time-rfc1123``, ``date``, ``duration``, ``uri``, ``uuid``, ``byte``,
``binary``), ``enum(A B)``, a type's name, ``[kind]`` for a list or ``{kind}`` for a map. The flags
are ``required``, ``readOnly``, ``writeOnly``, ``nullable``, ``fixed`` (given at creation, never
changed), ``>= N``, ``<= N``, ``length A..B``, ``items A..B``, ``default X``, ``since V``, ``until
V``, ``in V V`` (api-versions) and, last, ``pattern P`` or ``each pattern P``.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

PLAIN = ("string", "integer", "number", "boolean", "object")
FORMATS = (
    "date-time",
    "date-time-rfc1123",
    "duration",
    "uri",
    "uuid",
    "date",
    "byte",
    "binary",
)
#: protobuf.dev/programming-guides/json: what is no finite number is written as a string.
DOUBLE = {"type": ["number", "string"], "pattern": "^(NaN|-?Infinity)$"}
RESERVED = ("$by", "$of", "$when", "$undescribed")
Schema = dict[str, Any]
PATTERN = re.compile(r", (each )?pattern (.*)$", re.DOTALL)


class BadNotation(ValueError):
    """A description file that cannot be read; the text says where."""


@dataclass(frozen=True)
class Field:
    """One field as the notation says it."""

    kind: str
    flags: tuple[str, ...] = ()
    pattern: str = ""
    each_pattern: str = ""

    @property
    def required(self) -> bool:
        return "required" in self.flags and "readOnly" not in self.flags

    def has(self, flag: str) -> bool:
        return flag in self.flags

    def value(self, flag: str) -> str | None:
        """What follows the flag: ``value(">=")`` is ``"0"`` for ``>= 0``."""
        start = flag + " "
        return next((f.removeprefix(start) for f in self.flags if f.startswith(start)), None)


def field(text: str) -> Field:
    """Read one field text."""
    match = PATTERN.search(text)
    pattern = each = ""
    if match:
        text = text[: match.start()]
        pattern, each = ("", match[2]) if match[1] else (match[2], "")
    kind, *flags = text.split(", ")
    return Field(kind, tuple(flags), pattern, each)


def holds(rule: str, version: str, known: Iterable[str]) -> bool:
    """Whether ``since V``, ``until V`` or ``in V V`` is true of the api-version.

    ``known`` are the described versions, the oldest first.
    """
    how, _, text = rule.partition(" ")
    order = list(known)
    if how == "in":
        return version in text.split()
    place, mark = order.index(version), order.index(text)
    return place >= mark if how == "since" else place <= mark


def _versioned(found: Field) -> str:
    starts = ("since ", "until ", "in ")
    return next((flag for flag in found.flags if flag.startswith(starts)), "")


@dataclass(frozen=True)
class Compiler:
    """Translates the types of a file for one api-version and one direction of the wire."""

    types: dict[str, Any]
    version: str
    known: tuple[str, ...]
    request: bool

    def document(self) -> dict[str, Schema]:
        """Every type's schema by name, as ``$defs``."""
        return {name: self.type(name) for name in self.types}

    def type(self, name: str) -> Schema:
        about = self.types[name]
        if isinstance(about, list):
            return {"type": "string", "enum": self._values(about)}
        if isinstance(about, str):
            return self.schema(field(about))
        return self._object(name, about)

    def schema(self, found: Field) -> Schema:
        """A field's schema; the version flags and ``required`` are its object's business."""
        schema = self._kind(found.kind)
        if "$ref" in schema:
            return schema
        for flag, keyword in ((">=", "minimum"), ("<=", "maximum")):
            if (limit := found.value(flag)) is not None:
                schema[keyword] = float(limit) if "." in limit else int(limit)
        for flag, low, high in (
            ("length", "minLength", "maxLength"),
            ("items", "minItems", "maxItems"),
        ):
            if (bounds := found.value(flag)) is not None:
                first, _, last = bounds.partition("..")
                schema |= {low: int(first or 0)} | ({high: int(last)} if last else {})
        if found.pattern:
            schema["pattern"] = found.pattern
        if found.each_pattern:
            inner = schema["items" if "items" in schema else "additionalProperties"]
            inner["pattern"] = found.each_pattern
        return schema

    def _kind(self, kind: str) -> Schema:
        if kind in PLAIN:
            return {"type": kind}
        if kind in FORMATS:
            return {"type": "string", "format": kind}
        if kind == "any":
            return {}
        if kind == "double":
            return dict(DOUBLE)
        if kind.startswith("["):
            return {"type": "array", "items": self._kind(kind[1:-1])}
        if kind.startswith("{"):
            return {"type": "object", "additionalProperties": self._kind(kind[1:-1])}
        if kind.startswith("enum("):
            return {"type": "string", "enum": kind[5:-1].split()}
        if kind not in self.types:
            raise BadNotation(f"There is no type '{kind}'.")
        return {"$ref": f"#/$defs/{kind}"}

    def _values(self, about: list[Any]) -> list[str]:
        found = []
        for one in about:
            value, rule = next(iter(one.items())) if isinstance(one, dict) else (one, "")
            if not rule or holds(rule, self.version, self.known):
                found.append(str(value))
        return found

    def fields(self, name: str) -> dict[str, Field]:
        """The object's fields in this version, those of the type that it is a kind of included."""
        about = self.types[name]
        base = self.fields(about["$of"]) if "$of" in about else {}
        own = {key: field(text) for key, text in about.items() if key not in RESERVED}
        there = {
            key: found
            for key, found in own.items()
            if not (rule := _versioned(found)) or holds(rule, self.version, self.known)
        }
        return base | there

    def kinds(self, name: str) -> dict[str, str]:
        """The kinds of a type that are described in this version: telling value to type's name."""
        told = self.schema(self.fields(name)[self.types[name]["$by"]])
        while "$ref" in told:
            told = self.type(told["$ref"].removeprefix("#/$defs/"))
        return {
            about["$when"]: other
            for other, about in self.types.items()
            if isinstance(about, dict)
            and about.get("$of") == name
            and about["$when"] in told.get("enum", [about["$when"]])
        }

    def _object(self, name: str, about: dict[str, Any]) -> Schema:
        fields = self.fields(name)
        if self.request:  # the service ignores what it alone may write
            fields = {key: found for key, found in fields.items() if not found.has("readOnly")}
        schema: Schema = {
            "type": "object",
            "properties": {key: self.schema(found) for key, found in fields.items()},
            "required": [key for key, found in fields.items() if self._must(found)],
        }
        if "$by" in about:
            by = about["$by"]
            schema["allOf"] = [
                {
                    "if": {"properties": {by: {"enum": [value]}}, "required": [by]},
                    "then": {"$ref": f"#/$defs/{kind}"},
                }
                for value, kind in self.kinds(name).items()
            ]
        return schema

    def _must(self, found: Field) -> bool:
        """Nulls are taken out before a body is checked, so a nullable field may be missing."""
        unseen = not self.request and found.has("writeOnly")
        return found.required and not found.has("nullable") and not unseen
