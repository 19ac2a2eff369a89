"""What the programs of this folder share: their command line, their words on failure, their texts.

These programs are what runs "on the compute". They import nothing but the standard library, the
training libraries, and each other.
"""

import argparse
import json
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any


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
        try:
            return int(self.text(name, str(default)))
        except ValueError:
            raise StepError(
                f"Input '{name}' is '{self.parameters[name]}', not a whole number."
            ) from None

    def number(self, name: str, default: float) -> float:
        """Raises StepError: the value is not a number."""
        try:
            return float(self.text(name, str(default)))
        except ValueError:
            raise StepError(f"Input '{name}' is '{self.parameters[name]}', not a number.") from None


def run(work: Callable[[Spec], None], about: str | None) -> None:
    """Read the command line, do the work; on failure say one sentence and exit with 1."""
    parser = argparse.ArgumentParser(description=about)
    parser.add_argument("--spec", type=Path, required=True, help="JSON: parameters and paths")
    parser.add_argument("--out", type=Path, required=True, help="folder for outputs and metrics")
    given = parser.parse_args()
    spec = json.loads(given.spec.read_text(encoding="utf-8"))
    given.out.mkdir(parents=True, exist_ok=True)
    try:
        work(Spec(spec["parameters"], spec["paths"], given.out))
    except StepError as error:
        sys.stdout.flush()
        print(error, file=sys.stderr)
        sys.exit(1)


def conversations(path: Path) -> Iterator[tuple[int, list[dict[str, str]]]]:
    """Line number and messages of each row of a JSON Lines file in the chat-completion schema.

    Raises StepError: a line that is not JSON, or whose messages are not what the schema says.
    """
    with path.open(encoding="utf-8") as lines:
        for number, line in enumerate(lines, 1):
            if line.strip():
                yield number, _messages(path.name, number, line)


def _messages(file: str, number: int, line: str) -> list[dict[str, str]]:
    try:
        row = json.loads(line)
    except ValueError as error:
        raise StepError(f"{file}, line {number}: not JSON ({error}).") from None
    messages = row.get("messages") if isinstance(row, dict) else None
    if not isinstance(messages, list) or not messages:
        raise StepError(f"{file}, line {number}: column 'messages' is missing, empty or no list.")
    for place, message in enumerate(messages):
        for field in ("role", "content"):
            if not isinstance(message, dict) or not isinstance(message.get(field), str):
                raise StepError(f"{file}, line {number}: messages[{place}].{field} is no text.")
        if message["role"] not in ("system", "user", "assistant"):
            raise StepError(
                f"{file}, line {number}: messages[{place}].role is '{message['role']}', "
                "not system, user or assistant."
            )
    return messages


def say(text: str) -> None:
    """Print a line of the step's log at once."""
    print(text, flush=True)
