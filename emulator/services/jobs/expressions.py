"""The expressions of a command: ``${{inputs.x}}``, ``${{outputs.y}}``, ``$[[optional part]]``.

Source: MicrosoftDocs/azure-ai-docs: reference-yaml-core-syntax.md,
reference-yaml-component-command.md.
"""

import re
from collections.abc import Mapping

EXPRESSION = re.compile(r"\$\{\{\s*(?P<kind>inputs|outputs)\.(?P<name>[\w.]+)\s*\}\}")
OPTIONAL = re.compile(r"\$\[\[(?P<part>.*?)\]\]", re.DOTALL)


class UnknownName(ValueError):
    """An expression names an input or output that there is not; the text is the expression."""


def names(command: str, kind: str) -> set[str]:
    """The inputs or outputs that a command must have; optional parts ask for none."""
    needed = OPTIONAL.sub("", command)
    return {match["name"] for match in EXPRESSION.finditer(needed) if match["kind"] == kind}


def resolved(command: str, inputs: Mapping[str, str], outputs: Mapping[str, str]) -> str:
    """The command with values and paths; an optional part goes where one of its inputs is missing.

    Raises UnknownName.
    """
    known = {"inputs": inputs, "outputs": outputs}

    def value(match: re.Match[str]) -> str:
        try:
            return known[match["kind"]][match["name"]]
        except KeyError:
            raise UnknownName(match[0]) from None

    def part(match: re.Match[str]) -> str:
        try:
            return EXPRESSION.sub(value, match["part"])
        except UnknownName:
            return ""

    return EXPRESSION.sub(value, OPTIONAL.sub(part, command))
