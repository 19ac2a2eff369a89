"""Good bodies from a JSON Schema, and every way to break one at one place."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from hypothesis import strategies as st

DEPTH = 5
FORMATS: dict[str, st.SearchStrategy[str]] = {
    "date-time": st.datetimes().map(lambda when: when.isoformat() + "Z"),
    "duration": st.integers(0, 10_000).map(lambda seconds: f"PT{seconds}S"),
    "uri": st.just("https://example.test/x"),
    "uuid": st.uuids().map(str),
}
WRONG = {
    "string": 7,
    "integer": "seven",
    "number": "seven",
    "boolean": "yes",
    "object": "an object",
    "array": {"a": "list"},
}


def resolved(schema: dict[str, Any], defs: dict[str, Any]) -> dict[str, Any]:
    """The schema that a ``$ref`` means."""
    while "$ref" in schema:
        schema = defs[schema["$ref"].removeprefix("#/$defs/")]
    return schema


def kinds(schema: dict[str, Any], defs: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Of a type with kinds: the telling value to the properties of that kind."""
    found = {}
    for one in schema.get("allOf", []):
        ((_, telling),) = one["if"]["properties"].items()
        found[telling["enum"][0]] = resolved(one["then"], defs)
    return found


def merged(schema: dict[str, Any], kind: dict[str, Any]) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": schema["properties"] | kind["properties"],
        "required": [*schema["required"], *kind["required"]],
    }


def telling(schema: dict[str, Any]) -> str:
    return str(next(iter(schema["allOf"][0]["if"]["properties"])))


def good(schema: dict[str, Any], defs: dict[str, Any], depth: int = DEPTH) -> st.SearchStrategy:
    """Values that the schema allows."""
    schema = resolved(schema, defs)
    if "enum" in schema:
        return st.sampled_from(schema["enum"])
    kind = schema.get("type")
    if isinstance(kind, list):
        return st.one_of(*(good(schema | {"type": one}, defs, depth) for one in kind))
    if kind == "object":
        return _objects(schema, defs, depth)
    if kind == "array":
        least = schema.get("minItems", 0)
        most = max(least, 0 if depth <= 0 else 2)
        return st.lists(good(schema["items"], defs, depth - 1), min_size=least, max_size=most)
    if kind == "integer":
        return st.integers(schema.get("minimum", -9), schema.get("maximum", 99))
    if kind == "number":
        low, high = schema.get("minimum", -9), schema.get("maximum", 99)
        return st.floats(low, high, allow_nan=False)
    if kind == "boolean":
        return st.booleans()
    return _texts(schema) if kind == "string" else st.just("anything")


def _texts(schema: dict[str, Any]) -> st.SearchStrategy[str]:
    if "pattern" in schema:
        low, high = schema.get("minLength", 0), schema.get("maxLength", 400)
        found = st.from_regex(schema["pattern"], fullmatch=schema["pattern"].startswith("^"))
        return found.filter(lambda text: low <= len(text) <= high and text == text.strip())
    if schema.get("format") in FORMATS:
        return FORMATS[schema["format"]]
    return st.text("abc", min_size=schema.get("minLength", 0), max_size=4)


def _objects(schema: dict[str, Any], defs: dict[str, Any], depth: int) -> st.SearchStrategy:
    if "additionalProperties" in schema:
        inner = good(schema["additionalProperties"], defs, depth - 1)
        return st.dictionaries(st.text("xyz", min_size=1, max_size=3), inner, max_size=1)
    several = kinds(schema, defs)
    if not several:
        return _fields(schema, defs, depth, {})
    by = telling(schema)
    return st.sampled_from(sorted(several)).flatmap(
        lambda value: _fields(merged(schema, several[value]), defs, depth, {by: value})
    )


def _fields(
    schema: dict[str, Any], defs: dict[str, Any], depth: int, fixed: dict[str, str]
) -> st.SearchStrategy:
    properties = schema.get("properties", {})
    needed = [name for name in schema.get("required", []) if name not in fixed]
    must = {name: good(properties[name], defs, depth - 1) for name in needed}
    may = {} if depth <= 0 else {n: p for n, p in properties.items() if n not in [*must, *fixed]}
    optional = {name: good(inner, defs, depth - 1) for name, inner in may.items()}
    return st.fixed_dictionaries(must, optional=optional).map(lambda found: found | fixed)


@dataclass(frozen=True)
class Break:
    """One place to break: the keys that lead there, and the value to put (None: take it out)."""

    keys: tuple[str | int, ...]
    value: Any
    rule: str

    @property
    def path(self) -> str:
        text = "body"
        for key in self.keys:
            text += f"[{key}]" if isinstance(key, int) else f".{key}"
        return text

    def done(self, body: Any) -> Any:
        if not self.keys:
            return self.value
        broken = copy.deepcopy(body)
        place = broken
        for key in self.keys[:-1]:
            place = place[key]
        if self.rule == "required":
            del place[self.keys[-1]]
        else:
            place[self.keys[-1]] = self.value
        return broken


def _wrong(kind: str | list[str]) -> Any:
    return [] if isinstance(kind, list) else WRONG[kind]


def breaks(
    schema: dict[str, Any], defs: dict[str, Any], value: Any, keys: tuple[str | int, ...] = ()
) -> Iterator[Break]:
    """Every break of a good value, each at one place, each of one rule."""
    schema = resolved(schema, defs)
    if "type" in schema:
        yield Break(keys, _wrong(schema["type"]), "type")
    if "enum" in schema:
        yield Break(keys, "no such value", "enum")
    if "minimum" in schema:
        yield Break(keys, schema["minimum"] - 1, "minimum")
    if "maximum" in schema:
        yield Break(keys, schema["maximum"] + 1, "maximum")
    if schema.get("minLength"):
        yield Break(keys, "", "minLength")
    if schema.get("format") in FORMATS:
        yield Break(keys, "never", "format")
    if isinstance(value, list):
        for place, one in enumerate(value):
            yield from breaks(schema["items"], defs, one, (*keys, place))
    if isinstance(value, dict):
        yield from _breaks_inside(schema, defs, value, keys)


def _breaks_inside(
    schema: dict[str, Any], defs: dict[str, Any], value: dict[str, Any], keys: tuple[str | int, ...]
) -> Iterator[Break]:
    if "allOf" in schema:
        schema = merged(schema, kinds(schema, defs)[value[telling(schema)]])
    for name in schema.get("required", []):
        yield Break((*keys, name), None, "required")
    for name, inner in value.items():
        about = schema.get("properties", {}).get(name, schema.get("additionalProperties"))
        if about:
            yield from breaks(about, defs, inner, (*keys, name))
