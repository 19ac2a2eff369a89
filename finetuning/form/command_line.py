"""The run's parameter from a command line: every field is an option, a JSON file fills the rest."""

from __future__ import annotations

import json
import re
import sys
from argparse import ArgumentParser
from collections.abc import Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Any, NoReturn

from pydantic import ValidationError
from pydantic_settings import BaseSettings, CliSettingsSource, SettingsConfigDict, SettingsError

from finetuning.form.run import FineTune


class _Options(BaseSettings, FineTune):
    """The fields as options. It is never made: the environment has no part in them."""

    model_config = SettingsConfigDict(
        cli_hide_none_type=True,
        cli_avoid_json=True,
        cli_parse_none_str="null",
        cli_use_class_docs_for_groups=True,
    )


class _Parser(ArgumentParser):
    """A parser that tells the nearest name of an unknown option."""

    def error(self, message: str) -> NoReturn:
        unknown = re.match(r"unrecognized arguments: --([^\s=]+)", message)
        options = [option.removeprefix("--") for option in self._option_string_actions]
        near = unknown and get_close_matches(unknown[1], options, n=1)
        hint = f"Did you mean --{near[0]}?" if near else "--help lists the options."
        super().error(f"{message}. {hint}")

    def format_usage(self) -> str:
        """Return a line: the options are named by ``--help``, and are too many for a usage."""
        return f"usage: {self.prog} [--run FILE] [--FIELD VALUE ...]  (--help lists every field)\n"

    def format_help(self) -> str:
        """Return the help without argparse's usage, which would repeat every option."""
        return self.format_usage() + "\n" + super().format_help().split("\n\n", 1)[1]


def read_run(argv: list[str], program: str, about: str) -> FineTune:
    """Return the run that a command line describes; an option goes before the file.

    Raises:
        SystemExit: it describes none. 1 for a wrong value, with its field's name; 2 for an option
            that does not exist, with the nearest one's.
    """
    parser = _Parser(prog=program, description=about, allow_abbrev=False)
    parser.add_argument(
        "--run",
        type=Path,
        metavar="FILE",
        help="JSON file with the parameter 'run', or with a request body of the API",
    )
    options: CliSettingsSource[Any] = CliSettingsSource(_Options, root_parser=parser)
    given = parser.parse_args(argv)
    try:
        chosen = options(parsed_args=given)()
        return FineTune.model_validate(_merged(_read_file(given.run), chosen))
    except ValidationError as error:
        sys.exit("\n".join(explain(error)))
    except SettingsError as error:
        named = re.search(r'for (?:field )?"?([\w.]+)', str(error))
        option = f"--{named[1]}" if named else "An option"
        sys.exit(f"{option}: give several values as NAME=VALUE,NAME=VALUE or as a JSON object.")


def _read_file(path: Path | None) -> dict[str, Any]:
    """Return the run in a file: as it is, or in a body as the API takes it.

    Raises:
        SystemExit: there is none in it; says why.
    """
    if path is None:
        return {}
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        sys.exit(f"{path} cannot be read as JSON: {error}.")
    for part in ("parameters", "run"):
        if isinstance(found, dict) and _wraps(found, part):
            found = found[part]
    if not isinstance(found, dict):
        sys.exit(f'{path} does not hold a run. It must be an object, such as {{"budget": 60}}.')
    return found


def _wraps(body: Mapping[str, Any], part: str) -> bool:
    """Return whether ``part`` is the API's, not the run's own field ``parameters``."""
    inner = body.get(part)
    return part in body and (part == "run" or (isinstance(inner, dict) and "run" in inner))


def _merged(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    """Return both, where they differ ``above``."""
    merged = dict(below)
    for name, value in above.items():
        under = merged.get(name)
        if isinstance(value, dict) and isinstance(under, dict):
            value = _merged(under, value)
        merged[name] = value
    return merged


def explain(error: ValidationError) -> list[str]:
    """Return a sentence for each wrong value: its field, what is wrong, what was given."""
    return [_sentence(line) for line in error.errors()]


def _sentence(line: Any) -> str:
    where = ".".join(["run", *(str(part) for part in line["loc"])])
    if line["type"] == "extra_forbidden":
        near = get_close_matches(str(line["loc"][-1]), _fields(line["loc"][:-1]), n=1)
        hint = f" Did you mean '{near[0]}'?" if near else ""
        return f"{where}: no such field.{hint}"
    message = line["msg"].removeprefix("Value error, ").rstrip(".")
    if not line["loc"]:  # the whole run was looked at: its preset cannot be read
        return f"{where}: {message}."
    return f"{where}: {message} (given: {line['input']!r})."


def _fields(path: tuple[Any, ...]) -> list[str]:
    """Return the names of the fields of a part of the form."""
    part: Any = FineTune()
    for name in path:
        part = getattr(part, str(name), None)
    return list(type(part).model_fields) if part is not None else []
