"""``docs/reference.md``: every setting of the connection and every field of a run, from the types.

``make reference`` writes it; a test holds the page against the types.
"""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Literal, get_args, get_origin

from annotated_types import Ge, Gt, Le, Lt, MaxLen, MinLen
from pydantic import BaseModel
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from finetuning.azure.settings import CredentialChoice, Settings
from finetuning.form.choice import Choice, left_open
from finetuning.form.run import FineTune

ROOT = Path(__file__).parents[1]
PAGE, EXAMPLE = ROOT / "docs" / "reference.md", ROOT / ".env.example"
HEAD = """# Every setting and every field

Made from the types by `make reference`; do not edit it.

## Settings

Where the workspace is: environment variables, or lines of `.env`. A variable in the environment
counts before its line in the file.
"""
BLOCK = """`FINETUNE_CREDENTIAL` is a JSON object with these fields:
"""
FORM = """## Fields of a run

The flow's one parameter `run`: in the UI's form, in the API's body as nested JSON, and as options
of `fine-tune plan` and `fine-tune run` with the names below (`--data.percentage 1`). Where a field
is left open, `preset` fills it first.
"""


def main(argv: list[str]) -> int:
    """Write the page; the exit code."""
    parser = argparse.ArgumentParser(prog="python -m commands.reference", description=__doc__)
    parser.parse_args(argv)  # it takes none
    PAGE.write_text(as_markdown(), encoding="utf-8")
    return 0


def as_markdown() -> str:
    """Return the page."""
    settings = [_line(str(field.alias), field) for field in Settings.model_fields.values()]
    others = [one for one in _of_the_example() if one[0] not in {name for name, *_ in settings}]
    credential = [_line(name, field) for name, field in CredentialChoice.model_fields.items()]
    parts = [HEAD, _table(settings + others), BLOCK, _table(credential)]
    return "\n".join([*parts, FORM, *_sections(FineTune, "", "Run")])


def _of_the_example() -> Iterator[list[str]]:
    """Yield the variables of ``.env.example`` with the comment above each, and its value there."""
    comment: list[str] = []
    for line in EXAMPLE.read_text(encoding="utf-8").splitlines():
        if found := re.match(r"#?([A-Z][A-Z0-9_]+)=(.*)$", line):
            default = f"`{found[2]}`" if found[2] else "empty"
            yield [f"`{found[1]}`", _cell(" ".join(comment)), "text", default]
            comment = []
        else:
            comment = [*comment, line.lstrip("# ")] if line.startswith("#") else []


def _sections(part: type[BaseModel], place: str, title: str) -> Iterator[str]:
    """Yield a part of the form: its own fields as a table, then the groups below it."""
    own: list[list[str]] = []
    groups: list[tuple[type[Choice], str]] = []
    for name, field in part.model_fields.items():
        group = field.default_factory
        if isinstance(group, type) and issubclass(group, Choice):
            groups.append((group, f"{place}{name}."))
        elif inner := _optional_group(field):
            groups.append((inner, f"{place}{name}."))
        else:
            own.append(_line(f"{place}{name}", field))
    about = (part.__doc__ or "").strip().split("\n")[0]
    if own:
        yield f"### {title}\n\n{about}\n\n{_table(own)}"
    for group, below in groups:
        yield from _sections(group, below, f"`{below.rstrip('.')}`")


def _optional_group(field: FieldInfo) -> type[Choice] | None:
    if get_origin(field.annotation) is dict:
        return None
    classes = [one for one in get_args(field.annotation) if isinstance(one, type)]
    return next((one for one in classes if issubclass(one, Choice)), None)


def _line(name: str, field: FieldInfo) -> list[str]:
    return [f"`{name}`", _cell(field.description or ""), _cell(_kind(field)), _default(field)]


def _kind(field: FieldInfo) -> str:
    """Return a field's type and bounds, in words."""
    bounds = [text for rule in field.metadata if (text := _bound(rule))]
    return ", ".join([_type(field.annotation), *bounds])


def _type(annotation: Any) -> str:
    if get_origin(annotation) is Annotated:
        return _type(get_args(annotation)[0])
    if get_origin(annotation) is Literal:
        return " or ".join(str(one) for one in get_args(annotation))
    options = [one for one in get_args(annotation) if one is not type(None)]
    if get_origin(annotation) is dict:
        return "names and values"
    if get_origin(annotation) is tuple:
        return "a list"
    if options and type(None) in get_args(annotation):
        return " or ".join(dict.fromkeys(map(_type, options)))
    names = {int: "whole number", float: "number", bool: "true or false"}
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return "JSON object"
    return names.get(annotation, "text")


def _bound(rule: Any) -> str | None:
    if isinstance(rule, Ge):
        return f"at least {rule.ge:g}"
    if isinstance(rule, Gt):
        return f"above {rule.gt:g}"
    if isinstance(rule, Le):
        return f"at most {rule.le:g}"
    if isinstance(rule, Lt):
        return f"below {rule.lt:g}"
    if isinstance(rule, MaxLen):
        return f"at most {rule.max_length} long"
    if isinstance(rule, MinLen):
        return "not empty"
    pattern = getattr(rule, "pattern", None)
    return f"like `{pattern}`" if pattern else None


def _default(field: FieldInfo) -> str:
    if field.json_schema_extra is left_open:
        return "the preset's"
    default = field.get_default(call_default_factory=True, validated_data={})
    if default is PydanticUndefined:
        return "required"
    if default in (None, "", {}, ()) or isinstance(default, BaseModel):
        return "empty"
    shown = ", ".join(map(str, default)) if isinstance(default, tuple) else default
    if isinstance(shown, bool):
        return f"`{str(shown).lower()}`"
    return f"`{shown:g}`" if isinstance(shown, float) else f"`{shown}`"


def _table(rows: list[list[str]]) -> str:
    lines = [["name", "is", "type", "default"], ["---"] * 4, *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines) + "\n"


def _cell(text: str) -> str:
    return " ".join(text.replace("|", "\\|").split())


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
