"""What the programs of this folder share: their command line, their words on failure, their texts.

These programs are what runs "on the compute". They import nothing but the standard library, the
training libraries, and each other.
"""

import argparse
import json
import math
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROLES = ("system", "developer", "user", "assistant")


class StepError(Exception):
    """The step cannot go on; the text is the one sentence that the service shows."""


@dataclass(frozen=True)
class Spec:
    """What a step was given: the component's inputs by name, and paths by name."""

    parameters: dict[str, Any]
    paths: dict[str, str]
    out: Path

    def path(self, name: str) -> Path:
        """An input's path. Raises StepError: it was not given, or nothing is there."""
        given = self.paths.get(name)
        if not given:
            raise StepError(f"Input '{name}' was not given.")
        if not Path(given).exists():
            raise StepError(f"Input '{name}': there is nothing at '{given}'.")
        return Path(given)

    def text(self, name: str, default: str) -> str:
        return str(self.parameters.get(name, default))

    def flag(self, name: str, default: bool = False) -> bool:
        return self.text(name, str(default)).lower() == "true"

    def integer(self, name: str, default: int) -> int:
        """Raises StepError: the value is not a whole number."""
        number = self.number(name, default)
        if number != int(number):
            raise StepError(f"Input '{name}' is {self.parameters[name]}, not a whole number.")
        return int(number)

    def number(self, name: str, default: float) -> float:
        """Raises StepError: the value is not a number, or not a finite one."""
        try:
            number = float(self.text(name, str(default)))
        except ValueError:
            number = math.nan
        if not math.isfinite(number):
            raise StepError(f"Input '{name}' is '{self.parameters[name]}', not a number.")
        return number


def run(work: Callable[[Spec], None], about: str | None) -> None:
    """Read the command line, do the work; on failure say one sentence and exit with 1."""
    parser = argparse.ArgumentParser(
        description=about, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--spec", type=Path, required=True, help="JSON: parameters and paths")
    parser.add_argument("--out", type=Path, required=True, help="folder for outputs and metrics")
    given = parser.parse_args()
    try:
        spec = read_spec(given.spec, given.out)
        given.out.mkdir(parents=True, exist_ok=True)
        work(spec)
    except StepError as error:
        sys.stdout.flush()
        print(error, file=sys.stderr)
        sys.exit(1)


def read_spec(path: Path, out: Path) -> Spec:
    """Raises StepError: the file is not what ``--spec`` must be."""
    try:
        spec = json.loads(path.read_text(encoding="utf-8"))
        return Spec(dict(spec["parameters"]), dict(spec["paths"]), out)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise StepError(
            f"The spec '{path}' is not JSON with 'parameters' and 'paths': {error!r}."
        ) from None


def rows(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """Line number and object of each line of a JSON Lines file; blank lines are passed over.

    Raises StepError: a line that is no UTF-8, no JSON, or no object.
    """
    with path.open("rb") as lines:
        for number, line in enumerate(lines, 1):
            if not line.strip():
                continue
            try:
                row = json.loads(line)  # a UnicodeDecodeError is a ValueError
            except (ValueError, RecursionError) as error:
                raise StepError(f"{path.name}, line {number}: not JSON ({error}).") from None
            if not isinstance(row, dict):
                raise StepError(f"{path.name}, line {number}: not a JSON object.")
            yield number, row


def conversations(path: Path) -> Iterator[tuple[int, list[dict[str, str]]]]:
    """Line number and messages of each row of a JSON Lines file in the chat-completion schema.

    Raises StepError: a line that is not JSON, or whose messages are not what the schema says.
    """
    for number, row in rows(path):
        problem = problem_of(row.get("messages"))
        if problem:
            raise StepError(f"{path.name}, line {number}: {problem}.")
        yield number, row["messages"]


def problem_of(messages: Any) -> str | None:
    """What is wrong with a conversation, or None."""
    if not isinstance(messages, list) or not messages:
        return "column 'messages' is missing, empty or not a list"
    for place, message in enumerate(messages):
        for field in ("role", "content"):
            if not isinstance(message, dict) or not isinstance(message.get(field), str):
                return f"messages[{place}].{field} is not text"
        if message["role"] not in ROLES:
            return f"messages[{place}].role is '{message['role']}', not one of {', '.join(ROLES)}"
    return None


def say(text: str) -> None:
    """Print a line of the step's log at once."""
    print(text, flush=True)
