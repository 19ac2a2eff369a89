"""The run's parameter from a command line: every field is an option, a JSON file fills the rest."""

from __future__ import annotations

import json
import re
import sys
from argparse import Action, ArgumentParser, Namespace
from collections.abc import Mapping
from difflib import get_close_matches
from pathlib import Path
from textwrap import shorten
from typing import Any, NamedTuple, NoReturn

from pydantic import ValidationError
from pydantic_settings import BaseSettings, CliSettingsSource, SettingsConfigDict, SettingsError

from finetuning.form.choice import Choice
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
        return f"usage: {self.prog} [--run FILE] [--FIELD VALUE ...]  (--help, --help-all)\n"

    def format_help(self) -> str:
        """Return the help without argparse's usage, which would repeat every option."""
        return self.format_usage() + "\n" + super().format_help().split("\n\n", 1)[1]

    def format_short_help(self) -> str:
        """Return the help of what the form shows at once: a line an option, a screen in all."""
        lines = [self.format_usage(), str(self.description).split("\n")[0], ""]
        for action in self._actions:
            name = action.option_strings[-1]
            field = name.removeprefix("--")
            of_the_form = field in FineTune.model_fields or "." in field
            if not of_the_form or _shown_at_once(field.split(".")):
                first = str(action.help or "").split(". ")[0].split(" (default")[0]
                lines.append(f"  {name:<42} {shorten(first, 76, placeholder=' ...')}")
        lines += ["", "--help-all lists every field, with bounds and defaults.", ""]
        return "\n".join(lines)


def _shown_at_once(path: list[str]) -> bool:
    """Return whether a field is one that the form shows at once, and no group of fields."""
    part: type[Any] | None = FineTune
    for name in path:
        if part is None or not issubclass(part, Choice) or name not in part.first:
            return False
        group = part.model_fields[name].default_factory
        part = group if isinstance(group, type) and issubclass(group, Choice) else None
    return part is None


class _Help(Action):
    """Prints the help, short or whole, and ends the program."""

    def __call__(
        self, parser: ArgumentParser, _space: object, _values: object, option: str | None = None
    ) -> None:
        assert isinstance(parser, _Parser)
        whole = option == "--help-all"
        sys.stdout.write(parser.format_help() if whole else parser.format_short_help())
        parser.exit()


def read_run(argv: list[str], program: str, about: str) -> FineTune:
    """Return the run that a command line describes; an option goes before the file.

    Raises:
        SystemExit: it describes none. 1 for a wrong value, with its field's name; 2 for an option
            that does not exist, with the nearest one's.
    """
    return read_command(argv, program, about, {}).run


class Command(NamedTuple):
    """A run as its command line describes it, with the flags of the command itself.

    ``given``: the fields that were given, as JSON; the others are the preset's and the form's.
    """

    run: FineTune
    given: dict[str, Any]
    flags: frozenset[str]


def read_command(argv: list[str], program: str, about: str, flags: Mapping[str, str]) -> Command:
    """Return what a command line describes.

    ``flags``: what each is for, by its name without dashes.

    Raises:
        SystemExit: as ``read_run``.
    """
    parser = _Parser(prog=program, description=about, allow_abbrev=False, add_help=False)
    parser.add_argument(
        "-h", "--help", action=_Help, nargs=0, help="The fields seen most, and exit."
    )
    parser.add_argument("--help-all", action=_Help, nargs=0, help="Every field, and exit.")
    for flag, meaning in flags.items():
        parser.add_argument(f"--{flag}", action="store_true", dest=f"{_FLAG}{flag}", help=meaning)
    parser.add_argument(
        "--run",
        type=Path,
        metavar="FILE",
        help="JSON file with the parameter 'run', or with a request body of the API",
    )
    options: CliSettingsSource[Any] = CliSettingsSource(_Options, root_parser=parser)
    given = parser.parse_args(argv)
    asked = frozenset(flag for flag in flags if getattr(given, f"{_FLAG}{flag}"))
    fields = {name: value for name, value in vars(given).items() if not name.startswith(_FLAG)}
    try:
        chosen = _merged(_read_file(given.run), options(parsed_args=Namespace(**fields))())
        run = FineTune.model_validate(chosen)
        return Command(run, _typed(run.model_dump(mode="json"), FineTune.unfolded(chosen)), asked)
    except ValidationError as error:
        sys.exit("\n".join(explain(error)))
    except SettingsError as error:
        named = re.search(r'for (?:field )?"?([\w.]+)', str(error))
        option = f"--{named[1]}" if named else "An option"
        sys.exit(f"{option}: give several values as NAME=VALUE,NAME=VALUE or as a JSON object.")


#: Begins the name under which a flag is kept, where no field of the form can be.
_FLAG = "flag:"


def _typed(values: Mapping[str, Any], chosen: Mapping[str, Any]) -> dict[str, Any]:
    """Return of a run's values those that were chosen: typed, where an option is text."""
    found: dict[str, Any] = {}
    for name, value in chosen.items():
        inner = values[name]
        groups = isinstance(value, Mapping) and isinstance(inner, Mapping)
        found[name] = _typed(inner, value) if groups else inner
    return found


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
